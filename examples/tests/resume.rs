//! Runs that are killed at random moments and go on end with the bits of runs that are not.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "a long test tells how far it came")]

mod common;

use burn_pack::Reader;
use common::{fault, good, put_reward, run};
use hydralign::core::random::splitmix64;
use hydralign::runs::{MetricsLine, Sample, read_metrics, read_samples};
use hydralign_examples::base_model_dir;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run, its program and its flags; few rows, and a checkpoint after every second step.
const RUNS: [(&str, &str, &str); 7] = [
    (
        "dpo",
        "dpo",
        "--preferences pairs.jsonl --prompts prompts.jsonl --epochs 4 --minibatch 8 --max-new-tokens 4 --eval-every 3 --best-metric loss --patience 3",
    ),
    (
        "kto",
        "kto",
        "--preferences pairs.jsonl --prompts prompts.jsonl --epochs 2 --minibatch 12 --max-new-tokens 4 --on-non-finite halve",
    ),
    (
        "spr",
        "spr",
        "--reward reward --prompts prompts.jsonl --iterations 6 --prompts-per-iteration 3 --samples 4 --max-new-tokens 6 --eval-every 2",
    ),
    (
        "grpo",
        "grpo",
        "--reward reward --prompts prompts.jsonl --method dapo --iterations 6 --prompts-per-iteration 3 --samples 2 --max-new-tokens 6 --eval-every 2 --best-metric score",
    ),
    ("hydra_ppo", "hydra_rlhf", STAGES),
    (
        "sft",
        "sft",
        "--demonstrations demonstrations.jsonl --prompts prompts.jsonl --minibatch 8 --max-new-tokens 4 --eval-every 2 --best-metric nll",
    ),
    ("reward_model", "reward_model", "--preferences pairs.jsonl --minibatch 8"),
];

/// The other placements of PPO, which `HYDRALIGN_KILLS` adds.
const PLACEMENTS: [&str; 4] = ["ppo", "lora_ppo", "dynamic_lora_ppo", "j_hydra_ppo"];

/// SFT, Hydra-SFT and PPO.
const STAGES: &str = "--config small.toml --prompts prompts.jsonl --preferences pairs.jsonl --demonstrations demonstrations.jsonl --steps 5 --max-new-tokens 6";

const SMALL: &str = "
[sft]
minibatch = 8
[hydra_sft.training]
minibatch = 8
[ppo]
prompts = 4
";

/// Runs that are killed, of each method: `HYDRALIGN_KILLS` sets another number.
fn kills() -> u64 {
    let set = std::env::var("HYDRALIGN_KILLS").ok();
    set.map_or(3, |number| number.parse().expect("HYDRALIGN_KILLS is a number"))
}

fn args(flags: &str) -> Vec<String> {
    let model = base_model_dir().display().to_string();
    let own = format!("{flags} --checkpoint-every 2 --out OUT");
    ["--model".to_owned(), model].into_iter().chain(own.split(' ').map(str::to_owned)).collect()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs/runs/pairs40.jsonl");
    fs::copy(pairs, folder.path().join("pairs.jsonl")).unwrap();
    let prompts =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs/runs/prompts25.jsonl");
    fs::copy(prompts, folder.path().join("prompts.jsonl")).unwrap();
    put_reward(&folder.path().join("reward"));
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    let text = fs::read_to_string(folder.path().join("pairs.jsonl")).unwrap();
    let rows = text.lines().map(|line| {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        let row = serde_json::json!({ "prompt": pair["prompt"], "completion": pair["chosen"] });
        format!("{row}\n")
    });
    fs::write(folder.path().join("demonstrations.jsonl"), rows.collect::<String>()).unwrap();
    folder
}

fn runs() -> Vec<(String, &'static str, String)> {
    let owned =
        |(run, program, flags): (&str, _, &str)| (run.to_owned(), program, flags.to_owned());
    let mut runs: Vec<_> = RUNS.into_iter().map(owned).collect();
    if std::env::var_os("HYDRALIGN_KILLS").is_some() {
        let adapted = |(run, program, flags): (&str, _, &str)| {
            (format!("{run}_lora"), program, format!("{flags} --lora-rank 4"))
        };
        runs.extend(RUNS.into_iter().filter(|run| run.0 != "hydra_ppo").map(adapted));
        runs.extend(PLACEMENTS.map(|placement| {
            (placement.to_owned(), "hydra_rlhf", format!("{STAGES} --placement {placement}"))
        }));
    }
    runs
}

/// Stage, step and values of a line.
type Reported = (String, usize, Vec<(String, Option<f64>)>);

/// What is to be the same: the models' files, the tensors of the last checkpoints, the metrics but for the
/// time and the memory that they took, and what the models say before and after.
#[derive(PartialEq)]
struct Outcome {
    models: BTreeMap<PathBuf, Vec<u8>>,
    state: Vec<Vec<u8>>,
    metrics: Vec<Reported>,
    samples: Vec<Sample>,
}

/// Folders in a folder, in order.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|path| path.is_dir());
    all.sort();
    all
}

fn weights(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for file in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if file.extension().is_some_and(|end| end == "safetensors") {
            found.insert(file.clone(), fs::read(&file).unwrap());
        }
    }
    folders(folder).iter().for_each(|folder| weights(folder, found));
}

fn tensors(path: PathBuf) -> Vec<Vec<u8>> {
    if fs::metadata(&path).unwrap().len() == 0 {
        return Vec::new(); // spr begins each iteration with an optimizer of its own
    }
    let tensors = Reader::from_file(path).unwrap().into_tensors().unwrap().into_iter();
    // Their names hold numbers that each process draws for itself.
    tensors.map(|t| t.into_parts().unwrap().4.to_vec()).collect()
}

fn outcome(folder: &Path) -> Outcome {
    let out = folder.join("OUT");
    let stages = folders(&out.join("checkpoints"));
    // A stage has a folder of its own where there are several.
    let newest = match stages.iter().all(|s| s.join("checkpoint.toml").exists()) {
        true => vec![stages.last().unwrap().clone()],
        false => stages.iter().map(|stage| folders(stage).last().unwrap().clone()).collect(),
    };
    let of = |dir: &PathBuf| {
        let mut state =
            ["weights.bpk", "optimizer.bpk"].map(|name| tensors(dir.join(name))).concat();
        state.sort();
        state
    };
    let state = newest.iter().flat_map(of).collect();
    let part = |line: MetricsLine| (line.stage, line.step, line.values);
    let metrics = read_metrics(&out.join("metrics.jsonl")).unwrap().into_iter().map(part).collect();
    let samples = read_samples(&out.join("samples.jsonl")).unwrap();
    let mut found = BTreeMap::new();
    weights(&out, &mut found);
    let inside = |(path, bytes): (PathBuf, _)| (path.strip_prefix(&out).unwrap().into(), bytes);
    Outcome { models: found.into_iter().map(inside).collect(), state, metrics, samples }
}

fn names(outcome: &Outcome) -> Vec<&PathBuf> {
    outcome.models.keys().collect()
}

/// The arguments that begin the run, or go on with it.
fn next(folder: &Path, begin: &[String]) -> Vec<String> {
    match folder.join("OUT/config.toml").exists() {
        true => vec!["--resume".into(), "OUT".into()],
        false => begin.to_vec(),
    }
}

fn killed_after(folder: &Path, name: &str, args: &[String], wait: Duration) {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join(name);
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(wait);
    let _ = child.kill(); // it may have ended
    child.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_goes_on_bit_for_bit() {
    for (number, (name, program, flags)) in runs().into_iter().enumerate() {
        let begin = args(&flags);
        let texts: Vec<&str> = begin.iter().map(String::as_str).collect();
        let whole = folder();
        let began = Instant::now();
        good(&run(whole.path(), program, &texts));
        let seconds = began.elapsed().as_secs_f64();
        let expected = outcome(whole.path());
        assert!(
            !expected.models.is_empty() && expected.metrics.len() >= 5,
            "{name}: {} steps",
            expected.metrics.len()
        );
        let sets: BTreeSet<_> =
            expected.samples.iter().map(|sample| (&sample.stage, sample.step)).collect();
        let silent = program == "reward_model";
        assert!(silent || sets.len() >= 2, "{name}: before and after");
        let mut cut = 0;
        for turn in 0..kills() {
            let one = folder();
            // Every third run is killed three times.
            for again in 0..if turn % 3 == 2 { 3 } else { 1 } {
                let random = splitmix64(turn, (10 * number + again) as u64) % 1000;
                let wait = Duration::from_secs_f64(seconds * random as f64 / 1000.0);
                killed_after(one.path(), program, &next(one.path(), &begin), wait);
            }
            cut += usize::from(one.path().join("OUT/checkpoints").exists());
            let rest = next(one.path(), &begin);
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            good(&run(one.path(), program, &rest));
            let got = outcome(one.path());
            let what = format!("{name}, run {turn}");
            assert_eq!(got.metrics, expected.metrics, "{what}");
            assert_eq!(got.samples, expected.samples, "{what}");
            assert_eq!(
                fs::read_dir(one.path().join("OUT/tensorboard")).unwrap().count(),
                1,
                "{what}"
            );
            let report = fs::read_to_string(one.path().join("OUT/report.html")).unwrap();
            assert!(report.contains("<dd>finished</dd>"), "{what}: {report}");
            assert!(got.state == expected.state, "{what}: another state after it was killed");
            assert_eq!(names(&got), names(&expected), "{what}");
            assert!(got.models == expected.models, "{what}: another model after it was killed");
        }
        println!("{name}: {} runs killed, {cut} after a checkpoint, all alike", kills());
    }
}

#[test]
fn a_run_goes_on_with_its_own_settings_and_files_or_not_at_all() {
    let folder = folder();
    let begin = args("--preferences pairs.jsonl --minibatch 8 --max-new-tokens 4");
    let begin: Vec<&str> = begin.iter().map(String::as_str).collect();
    good(&run(folder.path(), "dpo", &begin));
    let refused = |args: &[&str]| fault(&run(folder.path(), "dpo", args));
    let said = refused(&["--resume", "OUT", "--lr", "1e-3"]);
    assert!(said.contains("leave --lr out"), "{said}");
    let said = refused(&["--resume", "nowhere"]);
    assert!(said.contains("nowhere") && said.contains("config.toml"), "{said}");
    let said = refused(&begin);
    assert!(said.contains("--resume"), "{said}");
    // What is complete stays what it is.
    let before = outcome(folder.path());
    let said = good(&run(folder.path(), "dpo", &["--resume", "OUT"]));
    assert!(said.contains("goes on after step 5"), "{said}");
    assert!(outcome(folder.path()) == before);
    let pairs = folder.path().join("pairs.jsonl");
    let text = fs::read_to_string(&pairs).unwrap();
    fs::write(&pairs, text.replacen("a", "o", 1)).unwrap();
    let said = refused(&["--resume", "OUT"]);
    assert!(said.contains("inputs.preferences.fingerprint"), "{said}");
    fs::write(&pairs, text).unwrap();
    let weights = folder.path().join("OUT/checkpoints/step-00000005/weights.bpk");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let said = refused(&["--resume", "OUT"]);
    assert!(said.contains("weights.bpk") && said.contains("not what was written"), "{said}");
    // Its result is complete all the same.
    let status = fs::read_to_string(folder.path().join("OUT/status.json")).unwrap();
    assert!(status.contains("finished"), "{status}");
}
