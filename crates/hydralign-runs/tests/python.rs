//! Event files, read by TensorBoard itself.
//!
//! Ignored unless asked for, because it needs Python with `tensorboard`: name its interpreter in
//! `HYDRALIGN_PYTHON` (`python3` otherwise) and run
//! `cargo test --workspace --test python -- --ignored`.
#![allow(clippy::print_stdout, reason = "what was compared is worth seeing")]

use hydralign_core::{Observer, Stats};
use hydralign_runs::{MetricsFile, MetricsLine};
use std::path::Path;
use std::process::Command;

/// What TensorBoard finds in a run folder is what `metrics.jsonl` says.
fn check(folder: &Path) {
    let python = std::env::var("HYDRALIGN_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_events.py");
    let output = Command::new(&python).arg(script).arg(folder).output();
    let output = output.unwrap_or_else(|e| panic!("{python}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.trim());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {text} {errors}", output.status);
}

#[test]
#[ignore = "needs Python with tensorboard"]
fn tensorboard_reads_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let board = folder.path().join("tensorboard");
    let tell =
        |file: &mut MetricsFile, stage: &str, steps: std::ops::RangeInclusive<usize>, by: f64| {
            for step in steps {
                let score = (step as f64 * 0.37).sin() * by;
                let loss = if step % 7 == 3 { f64::NAN } else { 1e-8 * by * step as f64 };
                let mut values = vec![("score".to_owned(), score), ("größe 1/2".to_owned(), loss)];
                // Single precision rounds it by its last bit.
                let single = f32::from_bits(0x3090_0000 + 7919 * step as u32);
                let midpoint = f64::midpoint(f64::from(single), f64::from(single.next_up()));
                values.push(("midpoint".to_owned(), midpoint * by));
                // Some values come now and then, as those of an evaluation do.
                values.extend((step % 5 == 0).then(|| ("kl".to_owned(), f64::INFINITY * by)));
                let stage = stage.to_owned();
                file.stats(&Stats { stage, step, steps: 300, values });
            }
        };
    let mut file = MetricsFile::create(&path).unwrap().with_tensorboard(&board).unwrap();
    tell(&mut file, "sft", 1..=20, 1.0);
    tell(&mut file, "ppo", 1..=40, 1.0);
    drop(file); // killed
    let keep = |line: &MetricsLine| line.stage == "sft" || line.step <= 30;
    let mut file = MetricsFile::resume(&path, keep).unwrap().with_tensorboard(&board).unwrap();
    tell(&mut file, "ppo", 31..=300, -1.0);
    file.finish().unwrap();
    check(folder.path());
}

/// As above, of a run that a program has written: its folder is in `HYDRALIGN_RUN`.
#[test]
#[ignore = "needs Python with tensorboard"]
fn tensorboard_reads_a_run() {
    if let Ok(folder) = std::env::var("HYDRALIGN_RUN") {
        check(Path::new(&folder));
    }
}
