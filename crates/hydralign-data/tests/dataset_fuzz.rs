//! Files of rows under mutation: 100,000 damaged JSON Lines and Parquet files each.
#![allow(clippy::print_stdout, reason = "what was tried is worth seeing")]

use hydralign_core::random::bits;
use hydralign_data::{Format, Rows};
use hydralign_kernels::CountingAllocator;
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

/// One to four changes: flips, cuts, copies, bytes that mean large numbers.
fn mutate(bytes: &mut Vec<u8>, random: &mut Source) {
    const WORDS: [&[u8]; 10] = [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x00",
        b"\xff\xff\xff\x7f",
        b"\x80\x80\x80\x80\x08",
        b"{",
        b"]",
        b"\"",
        b"99999999999999999999",
        b"null",
        b"\n",
    ];
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        let end = bytes.len().min(at + random.below(32));
        match random.below(6) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            3 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                let to_end = bytes.len().min(to + part.len());
                bytes.splice(to..to_end, part);
            }
            4 => {
                let word = WORDS[random.below(WORDS.len())];
                let end = bytes.len().min(at + word.len());
                bytes.splice(at..end, word.iter().copied());
            }
            _ => match random.below(3) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                _ => {}
            },
        }
    }
}

/// Damages a file again and again and reads it to its end.
fn fuzz(original: &[u8], name: &str, inputs: u64, bound: impl Fn(u64) -> u64) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What the readers catch is not to be printed a hundred thousand times.
    std::panic::set_hook(Box::new(|_| {}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, original).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut random = Source { seed: original.len() as u64, at: 0 };
    let (mut refused, mut caught, mut worst, mut too_much) = (0, 0, 0, None);
    for i in 0..inputs {
        let mut bytes = original.to_vec();
        mutate(&mut bytes, &mut random);
        file.rewind().unwrap();
        file.write_all(&bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        let live = CountingAllocator::live();
        CountingAllocator::reset_peak();
        let error = Rows::new(vec![path.clone()]).find_map(|row| match row {
            Ok(row) => {
                let _ = Format::Detect.example(row.fields);
                None
            }
            Err(e) => Some(e.to_string()),
        });
        let peak = CountingAllocator::peak() - live;
        worst = worst.max(peak);
        if peak > bound(bytes.len() as u64) && too_much.is_none() {
            too_much = Some((i, peak, bytes.len()));
        }
        if let Some(error) = error {
            refused += 1;
            caught += u64::from(error.contains("the file is damaged"));
            if !error.contains(name) || !error.contains(": ") {
                drop(std::panic::take_hook());
                panic!("{error}");
            }
        }
    }
    drop(std::panic::take_hook());
    println!(
        "{name}: {refused} of {inputs} refused, {caught} caught, at most {worst} bytes in use"
    );
    assert!(too_much.is_none(), "input {too_much:?} (number, bytes in use, length)");
    assert!(refused > inputs / 10, "only {refused} were refused: is anything damaged?");
}

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dataset");
    std::fs::read(dir.join(name)).unwrap()
}

#[test]
fn damaged_json_lines() {
    let lines = r#"{"prompt": "a é ☃", "chosen": [{"role": "user", "content": "x"}], "rejected": []}
{"messages": [{"role": "user", "content": null, "k": [1, 2.5e3, {"a": true}]}]}

{"text": "\ud83d\ude42 \n", "n": -1}
"#;
    fuzz(lines.as_bytes(), "rows.jsonl", INPUTS, |bytes| 64 * bytes + 65_536);
}

#[test]
fn damaged_parquet_files() {
    let names =
        ["large.parquet", "plain.parquet", "snappy.parquet", "zstd.parquet", "gzip.parquet"];
    for name in names {
        fuzz(&golden(name), name, INPUTS / names.len() as u64, |bytes| 64 * bytes + (1 << 20));
    }
}
