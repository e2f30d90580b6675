//! Chat templates and tokenizer configurations under mutation: 100,000 damaged inputs each.
#![allow(clippy::print_stdout, reason = "what was tried is worth seeing")]

mod fuzzing;

use fuzzing::{Source, Target, alone, inputs, peak_of};
use hydralign_data::{ChatTemplate, Limits, Message, RenderOptions};
use serde_json::{Map, json};
use std::path::Path;

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

/// Damages sources one after another; what reads them may have so many bytes in use.
fn fuzz(
    sources: &[Vec<u8>],
    seed: u64,
    bound: u64,
    mut read: impl FnMut(&[u8]) -> Result<(), String>,
) -> u64 {
    let words: Vec<&[u8]> = WORDS.iter().map(|w| w.as_bytes()).collect();
    let mut random = Source::new(seed);
    let (mut refused, mut worst) = (0, 0);
    // What the engine panics with is caught, and not to be printed every time.
    std::panic::set_hook(Box::new(|_| {}));
    let mut faults = Vec::new();
    for i in 0..inputs() {
        let mut text = sources[(i % sources.len() as u64) as usize].clone();
        random.mutate(&mut text, &words);
        let (result, peak) = peak_of(|| read(&text));
        worst = worst.max(peak);
        if peak > bound {
            faults.push(format!("{peak} bytes: {}", String::from_utf8_lossy(&text)));
        }
        if let Err(error) = result {
            if !error.contains(": ") && !error.contains("chat template") {
                faults.push(error);
            }
            refused += 1;
        }
    }
    drop(std::panic::take_hook());
    assert!(faults.is_empty(), "{faults:#?}");
    println!("{refused} of {} refused, at most {worst} bytes in use", inputs());
    refused
}

#[test]
fn damaged_templates() {
    let _alone = alone();
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
        json!({"bos_token": "<s>", "eos_token": "</s>"}).as_object().unwrap().clone();
    let refused = fuzz(&sources, 1, 8 << 20, |text| {
        let source = String::from_utf8_lossy(text);
        let template = ChatTemplate::new(&source, variables.clone()).map_err(|e| e.to_string())?;
        template.render(&messages, &options).map(drop).map_err(|e| e.to_string())
    });
    assert!(refused > inputs() / 10 && refused < inputs(), "{refused}");
}

#[test]
fn damaged_tokenizer_configurations() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let original = json!({
        "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
        "chat_template": [{"name": "default", "template": "{{ bos_token }}{% for m in messages %}{{ m.content | tojson(indent=2) }}{% endfor %}"}],
        "model_max_length": 1e30,
    });
    let original = original.to_string().into_bytes();
    let mut target = Target::new(&dir.path().join("tokenizer_config.json"), &original);
    let refused = fuzz(&[original], 2, 1 << 20, |text| {
        target.write(text);
        ChatTemplate::from_dir(dir.path()).map(drop).map_err(|e| e.to_string())
    });
    assert!(refused > inputs() / 4, "{refused}");
}
