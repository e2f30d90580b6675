//! Files of rows under mutation: 100,000 damaged JSON Lines and Parquet files each.
#![allow(clippy::print_stdout, reason = "what was tried is worth seeing")]

mod fuzzing;

use flate2::Compression;
use flate2::write::GzEncoder;
use fuzzing::{Source, Target, alone, inputs, peak_of};
use hydralign_data::{DEFAULT_LINE_LIMIT, Format, Rows};
use std::io::Write;
use std::path::Path;

/// Bytes that mean large numbers, and pieces of JSON.
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

/// Damages a file again and again and reads it to its end.
fn fuzz(original: &[u8], name: &str, inputs: u64, bound: impl Fn(u64) -> u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let mut target = Target::new(&path, original);
    let mut random = Source::new(original.len() as u64);
    let (mut refused, mut caught, mut worst, mut faults) = (0, 0, 0, Vec::new());
    // What the readers catch is not to be printed every time.
    std::panic::set_hook(Box::new(|_| {}));
    for i in 0..inputs {
        let mut bytes = original.to_vec();
        random.mutate(&mut bytes, &WORDS);
        target.write(&bytes);
        let (error, peak) = peak_of(|| {
            Rows::new(vec![path.clone()]).find_map(|row| match row {
                Ok(row) => {
                    let _ = Format::Detect.example(row.fields);
                    None
                }
                Err(e) => Some(e.to_string()),
            })
        });
        worst = worst.max(peak);
        if peak > bound(bytes.len() as u64) {
            faults.push(format!("input {i}: {peak} bytes for a file of {}", bytes.len()));
        }
        if let Some(error) = error {
            refused += 1;
            caught += u64::from(error.contains("the file is damaged"));
            if !error.contains(name) || !error.contains(": ") {
                faults.push(error);
            }
        }
    }
    drop(std::panic::take_hook());
    println!(
        "{name}: {refused} of {inputs} refused, {caught} caught, at most {worst} bytes in use"
    );
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(refused > inputs / 10, "only {refused} were refused: is anything damaged?");
}

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dataset");
    std::fs::read(dir.join(name)).unwrap()
}

#[test]
fn damaged_json_lines() {
    let _alone = alone();
    let lines = r#"{"prompt": "a é ☃", "chosen": [{"role": "user", "content": "x"}], "rejected": []}
{"messages": [{"role": "user", "content": null, "k": [1, 2.5e3, {"a": true}]}]}

{"text": "\ud83d\ude42 \n", "n": -1}
"#;
    fuzz(lines.as_bytes(), "rows.jsonl", inputs(), |bytes| 64 * bytes + 65_536);
}

#[test]
fn damaged_arrays_and_packed_files() {
    let _alone = alone();
    let array = r#"[{"prompt": "a é ]", "x": [NaN, {}]},
 {"prompt": "\\", "chosen": "[{", "n": 1e999}
]"#;
    let array = array.as_bytes();
    fuzz(array, "rows.json", inputs(), |bytes| 64 * bytes + 65_536);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(array).unwrap();
    let gzip = gzip.finish().unwrap();
    fuzz(&gzip, "rows.gz", inputs(), |bytes| 2048 * bytes + (1 << 20));
    let zstd = zstd::encode_all(array, 3).unwrap();
    // A block of a few bytes may stand for 128 KiB, a line for the limit.
    fuzz(&zstd, "rows.zst", inputs(), |_| 4 * DEFAULT_LINE_LIMIT as u64);
}

#[test]
fn damaged_parquet_files() {
    let _alone = alone();
    let names =
        ["large.parquet", "plain.parquet", "snappy.parquet", "zstd.parquet", "gzip.parquet"];
    for name in names {
        fuzz(&golden(name), name, inputs() / names.len() as u64, |bytes| 64 * bytes + (1 << 20));
    }
}
