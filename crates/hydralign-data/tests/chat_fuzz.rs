//! Chat templates and tokenizer configurations under mutation: 100,000 damaged inputs each.
#![allow(clippy::print_stdout, reason = "what was tried is worth seeing")]

use hydralign_core::random::bits;
use hydralign_data::{ChatTemplate, Limits, Message, RenderOptions};
use hydralign_kernels::CountingAllocator;
use serde_json::{Map, json};
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// The counter is one for the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const INPUTS: u64 = 100_000;

/// Numbers that a seed and a place determine.
struct Source {
    seed: u64,
    at: u64,
}

impl Source {
    fn below(&mut self, n: usize) -> usize {
        self.at += 1;
        (bits(self.seed, 0, self.at) % n.max(1) as u64) as usize
    }
}

/// What templates and their engine trip over.
const WORDS: [&str; 28] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "-%}",
    "{%+",
    "~",
    "*",
    "99999999999",
    "-1",
    "|",
    "'",
    "\"",
    "\\",
    "[::-1]",
    "(",
    ")",
    "none",
    "loop",
    "{% endfor %}",
    "{% for a in messages %}",
    "range(99999)",
    "messages",
    "|tojson(indent=9999999)",
    "{% generation %}",
    "{% endgeneration %}",
    "\u{F0000}é",
];

fn mutate(text: &mut Vec<u8>, random: &mut Source) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(text.len());
        let end = text.len().min(at + random.below(40));
        match random.below(6) {
            0 if !text.is_empty() => text[at] ^= 1 << random.below(8),
            1 => text.truncate(at),
            2 => drop(text.drain(at..end)),
            3 => {
                let part = text[at..end].to_vec();
                let to = random.below(text.len());
                text.splice(to..to, part);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())].bytes();
                text.splice(at..at, word);
            }
        }
    }
}

/// Runs a reader and checks what it had in use and, if it fails, what it says.
fn run(
    read: impl FnOnce() -> Result<(), String>,
    bound: u64,
    worst: &mut u64,
    shown: &[u8],
) -> bool {
    let live = CountingAllocator::live();
    CountingAllocator::reset_peak();
    let result = read();
    let peak = CountingAllocator::peak() - live;
    *worst = (*worst).max(peak);
    assert!(peak <= bound, "{peak} bytes: {}", String::from_utf8_lossy(shown));
    if let Err(error) = &result {
        assert!(error.contains(": ") || error.contains("chat template"), "{error}");
    }
    result.is_err()
}

#[test]
fn damaged_templates() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat/templates");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let sources: Vec<Vec<u8>> = paths.iter().map(|p| std::fs::read(p).unwrap()).collect();
    let messages = [
        Message::new("system", "Be <brief>."),
        Message::new("user", "Hi \"there\""),
        Message::new("assistant", "<think>\nx\n</think>\n\nHo"),
    ];
    let limits = Limits { fuel: 5_000, output: 50_000, recursion: 20 };
    let options =
        RenderOptions { limits, tools: vec![json!({"a": [1, "b"]})], ..Default::default() };
    let variables: Map<_, _> =
        [("bos_token".to_owned(), json!("<s>")), ("eos_token".into(), json!("</s>"))]
            .into_iter()
            .collect();
    let mut random = Source { seed: 1, at: 0 };
    let (mut refused, mut worst) = (0u64, 0);
    for i in 0..INPUTS {
        let mut text = sources[(i % sources.len() as u64) as usize].clone();
        mutate(&mut text, &mut random);
        let source = String::from_utf8_lossy(&text).into_owned();
        let read = || {
            let template =
                ChatTemplate::new(&source, variables.clone()).map_err(|e| e.to_string())?;
            template.render(&messages, &options).map(drop).map_err(|e| e.to_string())
        };
        refused += u64::from(run(read, 8 << 20, &mut worst, &text));
    }
    println!("{refused} of {INPUTS} templates refused, at most {worst} bytes in use");
    assert!(refused > INPUTS / 10 && refused < INPUTS, "{refused}");
}

#[test]
fn damaged_tokenizer_configurations() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer_config.json");
    let original = json!({
        "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
        "chat_template": [{"name": "default", "template": "{{ bos_token }}{% for m in messages %}{{ m.content | tojson(indent=2) }}{% endfor %}"}],
        "model_max_length": 1e30,
    });
    let original = original.to_string().into_bytes();
    std::fs::write(&path, &original).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut random = Source { seed: 2, at: 0 };
    let (mut refused, mut worst) = (0u64, 0);
    for _ in 0..INPUTS {
        let mut text = original.clone();
        mutate(&mut text, &mut random);
        file.rewind().unwrap();
        file.write_all(&text).unwrap();
        file.set_len(text.len() as u64).unwrap();
        let read = || ChatTemplate::from_dir(dir.path()).map(drop).map_err(|e| e.to_string());
        refused += u64::from(run(read, 1 << 20, &mut worst, &text));
    }
    println!("{refused} of {INPUTS} configurations refused, at most {worst} bytes in use");
    assert!(refused > INPUTS / 4, "{refused}");
}
