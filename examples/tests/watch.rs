//! Runs that measure what they train, keep the best, end early, and do what they were told when numbers go bad.

mod common;

use common::{fault, good, put_reward, run};
use hydralign::burn::tensor::Device;
use hydralign::models::load_checkpoint;
use hydralign::runs::{MetricsLine, read_metrics};
use hydralign_examples::base_model_dir;
use std::fs;
use std::path::Path;
use std::process::Output;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs/runs");
    for (from, to) in [("pairs40.jsonl", "pairs.jsonl"), ("prompts25.jsonl", "prompts.jsonl")] {
        fs::copy(inputs.join(from), folder.path().join(to)).unwrap();
    }
    put_reward(&folder.path().join("reward"));
    folder
}

fn with(folder: &Path, name: &str, flags: &str) -> Output {
    let model = base_model_dir().display().to_string();
    let flags = flags.split_whitespace();
    let args: Vec<&str> = ["--model", &model].into_iter().chain(flags).collect();
    run(folder, name, &args)
}

fn metrics(folder: &Path, out: &str) -> Vec<MetricsLine> {
    read_metrics(&folder.join(out).join("metrics.jsonl")).unwrap()
}

/// The steps that report a value of this name.
fn steps_with(lines: &[MetricsLine], name: &str) -> Vec<usize> {
    lines.iter().filter(|line| line.get(name).is_some()).map(|line| line.step).collect()
}

const SAMPLED: &str = "--reward reward --prompts prompts.jsonl --iterations 5 --prompts-per-iteration 2 --samples 2 --max-new-tokens 6";
const PAIRS: &str = "--preferences pairs.jsonl --minibatch 8 --max-new-tokens 4";

#[test]
fn every_program_measures_what_it_does_not_learn_from() {
    let folder = folder();
    let cases = [
        ("dpo", format!("{PAIRS} --eval-share 0.25"), vec!["loss", "accuracy", "margin"]),
        ("kto", PAIRS.to_owned(), vec!["loss", "kto_loss"]),
        ("grpo", SAMPLED.to_owned(), vec!["score", "kl", "length"]),
        ("spr", SAMPLED.to_owned(), vec!["score", "length"]),
    ];
    for (name, flags, names) in cases {
        let flags = format!("{flags} --eval-every 2 --best-metric {} --out {name}", names[0]);
        let said = good(&with(folder.path(), name, &flags));
        let lines = metrics(folder.path(), name);
        let last = lines.last().unwrap().step;
        let due: Vec<usize> = (1..=last).filter(|s| s % 2 == 0 || *s == last).collect();
        for value in &names {
            assert_eq!(steps_with(&lines, &format!("eval_{value}")), due, "{name} {value}");
        }
        // The best is the one that the file says, and its model is there.
        let metric = format!("eval_{}", names[0]);
        let sign = if names[0] == "loss" { 1.0 } else { -1.0 };
        let of = |line: &&MetricsLine| sign * line.get(&metric).unwrap();
        let measured = lines.iter().filter(|line| line.get(&metric).is_some());
        let best = measured.min_by(|a, b| of(a).total_cmp(&of(b))).unwrap();
        let value = best.get(&metric).unwrap();
        let text = format!("best by {metric}, {value:.4}: after step {}", best.step);
        assert!(said.contains(&text), "{name}: {text} in {said}");
        let out = folder.path().join(name);
        assert!(out.join(format!("checkpoints/step-{:08}", best.step)).is_dir(), "{name}");
        load_checkpoint(&out.join("best"), &Device::flex()).unwrap();
        let file = |part: &str| fs::read(out.join(part).join("model.safetensors")).unwrap();
        assert_eq!(file("best") == file("model"), best.step == last, "{name}");
    }
    // Without an evaluation all rows are learnt from; with one, those that are not measured.
    good(&with(folder.path(), "dpo", &format!("{PAIRS} --out all")));
    assert_eq!(metrics(folder.path(), "all").len(), 5);
    assert_eq!(metrics(folder.path(), "dpo").len(), 4);
}

#[test]
fn a_run_ends_where_its_patience_does_and_is_finished() {
    let folder = folder();
    // At this rate the held-out loss rises: the first evaluation is the best.
    let flags = format!(
        "{PAIRS} --epochs 20 --lr 0.3 --eval-every 1 --best-metric eval_loss --patience 2 --out OUT"
    );
    good(&with(folder.path(), "dpo", &flags));
    let lines = metrics(folder.path(), "OUT");
    let losses: Vec<f64> = lines.iter().map(|l| l.get("eval_loss").unwrap()).collect();
    let (mut best, mut stale, mut end) = (f64::INFINITY, 0, 0);
    while stale < 2 && end < lines[0].steps {
        (best, stale) = if losses[end] < best { (losses[end], 0) } else { (best, stale + 1) };
        end += 1;
    }
    assert!(lines.len() < lines[0].steps, "{losses:?}");
    assert_eq!(lines.len(), end, "{losses:?}");
    let status = fs::read_to_string(folder.path().join("OUT/status.json")).unwrap();
    assert!(status.contains("finished"), "{status}");
    // There is nothing left to do.
    let before = fs::read(folder.path().join("OUT/model/model.safetensors")).unwrap();
    let said = good(&run(folder.path(), "dpo", &["--resume", "OUT"]));
    assert!(said.contains(&format!("goes on after step {end}")), "{said}");
    assert_eq!(metrics(folder.path(), "OUT").len(), end);
    assert!(before == fs::read(folder.path().join("OUT/model/model.safetensors")).unwrap());
}

#[test]
fn a_step_that_is_not_finite_is_left_out_where_that_is_asked_for() {
    let folder = folder();
    // The gradient is finite at the first step, and no longer at the second.
    let flags = format!("{PAIRS} --lr 1 --nll-weight 1e18");
    let said = fault(&with(folder.path(), "dpo", &format!("{flags} --out stop")));
    assert!(said.contains("last good weights"), "{said}");
    let left_out = with(folder.path(), "dpo", &format!("{flags} --on-non-finite skip --out skip"));
    good(&left_out);
    let said = String::from_utf8_lossy(&left_out.stderr).into_owned();
    assert!(said.contains("note: step 2 is left out: the gradient norm is"), "{said}");
    let lines = metrics(folder.path(), "skip");
    let skipped = steps_with(&lines, "guard_skipped");
    assert!(skipped.contains(&2) && !skipped.contains(&1), "{skipped:?}");
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().filter(|l| skipped.contains(&l.step)).all(|l| l.get("loss").is_none()));
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let folder = folder();
    let refused = |name: &str, flags: &str| fault(&with(folder.path(), name, flags));
    for (flags, word) in [
        ("--best-metric eval_loss", "--eval-every"),
        ("--eval-every 0", "--eval-every must be at least 1"),
        ("--eval-every 2 --best-metric eval_length", "--best-is"),
        ("--eval-every 2 --best-metric loss --patience 0", "--patience"),
        ("--eval-every 2 --eval-share 1", "--eval-share"),
        ("--eval-share 0.5", "--eval-every"),
        ("--on-non-finite pause", "stop, skip, halve"),
    ] {
        let said = refused("dpo", &format!("{PAIRS} {flags} --out OUT"));
        assert!(said.contains(word), "{flags}: {said}");
        assert!(!folder.path().join("OUT").exists(), "{flags}");
    }
    let said = refused("grpo", &format!("{SAMPLED} --kl-limit=-1 --out OUT"));
    assert!(said.contains("kl"), "{said}");
    let said = refused("grpo", &format!("{SAMPLED} --method dapo --kl-limit 9 --out OUT"));
    assert!(said.contains("--kl-limit has no effect"), "{said}");
    let said = refused(
        "dpo",
        &format!("{PAIRS} --eval-every 2 --best-metric ndcg --best-is more --out O"),
    );
    assert!(said.contains("ndcg") && said.contains("eval_accuracy, eval_margin"), "{said}");
    assert!(said.contains("last good weights"), "what was learnt until then is kept: {said}");
}

#[test]
fn limits_of_kl_and_entropy_end_a_run_with_their_numbers() {
    let folder = folder();
    let limited = |flags: &str| fault(&with(folder.path(), "grpo", &format!("{SAMPLED} {flags}")));
    let said = limited("--entropy-limit 100 --out low");
    assert!(
        said.contains("step 1: entropy is") && said.contains("below the limit of 100"),
        "{said}"
    );
    let said = limited("--lr 0.01 --kl-limit 1e-6 --out high");
    assert!(said.contains("kl is") && said.contains("above the limit of 0.000001"), "{said}");
}
