//! The same seed gives the same bits twice, and with another number of threads.

mod common;

use common::{good, put_reward};
use hydralign::runs::read_metrics;
use hydralign_examples::base_model_dir;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RUNS: [(&str, &str); 5] = [
    ("dpo", "--preferences pairs.jsonl --minibatch 8 --max-new-tokens 4"),
    ("kto", "--preferences pairs.jsonl --minibatch 12 --max-new-tokens 4"),
    (
        "spr",
        "--reward reward --prompts prompts.jsonl --iterations 2 --prompts-per-iteration 3 --samples 4 --max-new-tokens 6",
    ),
    (
        "grpo",
        "--reward reward --prompts prompts.jsonl --iterations 3 --prompts-per-iteration 3 --samples 3 --max-new-tokens 6",
    ),
    (
        "hydra_rlhf",
        "--config small.toml --prompts prompts.jsonl --preferences pairs.jsonl --steps 2 --max-new-tokens 6",
    ),
];

/// Files of weights, and the statistics of each step.
type Bits = (BTreeMap<PathBuf, Vec<u8>>, Vec<String>);

fn weights(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            weights(&path, found);
        } else if path.extension().is_some_and(|end| end == "safetensors") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn bits(folder: &Path, program: &str, flags: &str, threads: usize) -> Bits {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().with_file_name("examples").join(program);
    let mut command = Command::new(path);
    command.args(["--model", &base_model_dir().display().to_string(), "--out", "OUT"]);
    command.args(flags.split(' ')).arg("--overwrite").current_dir(folder);
    command.env("RAYON_NUM_THREADS", threads.to_string());
    good(&command.output().unwrap());
    let mut found = BTreeMap::new();
    let out = folder.join("OUT");
    weights(&out, &mut found);
    let lines = read_metrics(&out.join("metrics.jsonl")).unwrap();
    let lines = lines.iter().map(|line| format!("{} {} {:?}", line.stage, line.step, line.values));
    (found, lines.collect())
}

#[test]
fn runs_repeat_themselves_whatever_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs/runs");
    for (from, to) in [("pairs40.jsonl", "pairs.jsonl"), ("prompts25.jsonl", "prompts.jsonl")] {
        fs::copy(inputs.join(from), folder.path().join(to)).unwrap();
    }
    fs::write(folder.path().join("small.toml"), "[ppo]\nprompts = 4\n").unwrap();
    put_reward(&folder.path().join("reward"));
    for (program, flags) in RUNS {
        let one = bits(folder.path(), program, flags, 1);
        assert!(!one.0.is_empty() && !one.1.is_empty());
        let all = std::env::var_os("HYDRALIGN_FULL_TESTS").is_some();
        for threads in if all { vec![1, 2, 3] } else { vec![2] } {
            let other = bits(folder.path(), program, flags, threads);
            assert_eq!(one.1, other.1, "{program}, {threads} threads: statistics");
            assert!(one.0 == other.0, "{program}, {threads} threads: weights");
        }
    }
}
