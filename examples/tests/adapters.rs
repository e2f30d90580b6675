//! Adapters in place of all weights, in every program that trains a policy.

mod common;

use common::{fault, good, put_reward, run};
use hydralign::runs::{MetricsLine, read_metrics};
use hydralign_examples::base_model_dir;
use std::fs;
use std::path::Path;

const RUNS: [(&str, &str); 4] = [
    ("dpo", "--preferences pairs.jsonl --minibatch 8 --max-new-tokens 4"),
    ("kto", "--preferences pairs.jsonl --minibatch 12 --max-new-tokens 4"),
    (
        "spr",
        "--reward reward --prompts prompts.jsonl --iterations 2 --prompts-per-iteration 3 --samples 4 --max-new-tokens 6",
    ),
    (
        "grpo",
        "--reward reward --prompts prompts.jsonl --kl 0.1 --iterations 2 --prompts-per-iteration 3 --samples 3 --max-new-tokens 6",
    ),
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/inputs/runs");
    for (from, to) in [("pairs40.jsonl", "pairs.jsonl"), ("prompts25.jsonl", "prompts.jsonl")] {
        fs::copy(inputs.join(from), folder.path().join(to)).unwrap();
    }
    put_reward(&folder.path().join("reward"));
    folder
}

/// Trains with some flags more; the metrics.
fn trained(folder: &Path, program: &str, flags: &str) -> Vec<MetricsLine> {
    let model = base_model_dir().display().to_string();
    let args: Vec<&str> = ["--model", &model].into_iter().chain(flags.split(' ')).collect();
    good(&run(folder, program, &args));
    let out = args[args.iter().position(|a| *a == "--out").unwrap() + 1];
    read_metrics(&folder.join(out).join("metrics.jsonl")).unwrap()
}

/// How far the policy is from its reference before the first step.
fn distance(first: &MetricsLine) -> Option<f64> {
    ["margin", "kl"].iter().find_map(|name| first.get(name)).map(f64::abs)
}

#[test]
fn adapters_are_trained_saved_and_gone_on_with() {
    let folder = folder();
    for (program, flags) in RUNS {
        let (one, two) = (format!("{program}-1"), format!("{program}-2"));
        let first = trained(folder.path(), program, &format!("{flags} --lora-rank 4 --out {one}"));
        let adapter = folder.path().join(&one).join("adapter");
        let config = fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
        assert!(config.contains("\"r\": 4") && config.contains("\"lora_alpha\": 8"), "{config}");
        assert!(!folder.path().join(&one).join("model").exists(), "{program}");
        // The reference is where the adapter begins, wherever that is.
        let more = format!("{flags} --adapter {one}/adapter --out {two}");
        let second = trained(folder.path(), program, &more);
        for lines in [&first, &second] {
            assert!(distance(&lines[0]).is_none_or(|d| d < 1e-5), "{program}: {:?}", lines[0]);
        }
        let weights = |out: &str| {
            fs::read(folder.path().join(out).join("adapter/adapter_model.safetensors")).unwrap()
        };
        assert!(weights(&one) != weights(&two), "{program}: it learns");
    }
}

/// The last number of that name.
fn last(lines: &[MetricsLine], name: &str) -> f64 {
    lines.iter().rev().find_map(|line| line.get(name)).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn first_stages_learn_and_what_they_save_is_what_the_others_take() {
    let folder = folder();
    let pairs = fs::read_to_string(folder.path().join("pairs.jsonl")).unwrap();
    let demonstrations = pairs.lines().map(|line| {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        let row = serde_json::json!({ "prompt": pair["prompt"], "completion": pair["chosen"] });
        format!("{row}\n")
    });
    let text: String = demonstrations.collect();
    fs::write(folder.path().join("demonstrations.jsonl"), text).unwrap();
    for (kind, flags) in [("full", ""), ("lora", " --lora-rank 4 --lr 3e-3")] {
        let sft = format!(
            "--demonstrations demonstrations.jsonl --minibatch 8 --epochs 6 --max-new-tokens 4 --out sft-{kind}{flags}"
        );
        let lines = trained(folder.path(), "sft", &sft);
        let (before, after) = (lines[0].get("nll").unwrap(), last(&lines, "nll"));
        assert!(after < 0.8 * before, "{kind}: nll {before}, then {after}");
        let rewarding = format!(
            "--preferences pairs.jsonl --minibatch 8 --epochs 8 --eval-every 40 --best-metric ranking_accuracy --out reward-{kind}{flags}"
        );
        let lines = trained(folder.path(), "reward_model", &rewarding);
        let (before, after) = (lines[0].get("ranking_loss").unwrap(), last(&lines, "ranking_loss"));
        assert!(after < 0.8 * before, "{kind}: loss {before}, then {after}");
        assert!(last(&lines, "eval_ranking_accuracy") >= 0.0);
        let policy = match kind {
            "full" => "--model sft-full/model".to_owned(),
            _ => format!("--model {} --adapter sft-lora/adapter", base_model_dir().display()),
        };
        let grpo = format!(
            "{policy} --reward reward-{kind}/model --prompts prompts.jsonl --iterations 1 --prompts-per-iteration 2 --samples 2 --max-new-tokens 4 --out grpo-{kind}"
        );
        good(&run(folder.path(), "grpo", &grpo.split(' ').collect::<Vec<_>>()));
    }
    let adapter = folder.path().join("reward-lora/model/adapter/adapter_config.json");
    assert!(fs::read_to_string(adapter).unwrap().contains("SEQ_CLS"));
    let none = fault(&run(folder.path(), "sft", &["--out", "x"]));
    assert!(none.contains("--demonstrations"), "{none}");
    let other = ["--prompts", "prompts.jsonl", "--model", "sft-full/model"];
    let other = fault(&run(folder.path(), "reward_model", &other));
    assert!(other.contains("--prompts"), "{other}");
}

#[test]
fn what_is_no_adapter_of_the_model_is_refused() {
    let folder = folder();
    let model = base_model_dir().display().to_string();
    let refused = |flags: &str| {
        let args: Vec<&str> =
            ["--model", &model, "--preferences", "pairs.jsonl", "--out", "OUT"].into();
        fault(&run(folder.path(), "dpo", &[args, flags.split(' ').collect()].concat()))
    };
    let said = refused("--lora-rank 0");
    assert!(said.contains("--lora-rank must be at least 1"), "{said}");
    let said = refused("--lora-rank 4 --lora-alpha=-1");
    assert!(said.contains("--lora-alpha"), "{said}");
    let said = refused("--lora-alpha 8");
    assert!(said.contains("--lora-rank"), "{said}");
    let said = refused("--adapter nowhere --lora-alpha 8");
    assert!(said.contains("cannot be used with"), "{said}");
    let said = refused("--lora-rank 100000");
    assert!(said.contains("100000") && said.contains("128"), "{said}");
    let said = refused("--checkpoint-every 0 --eval-every 2 --best-metric loss");
    assert!(said.contains("--checkpoint-every must be at least 1"), "{said}");
    let said = refused("--adapter nowhere");
    assert!(said.contains("nowhere"), "{said}");
    let said = refused("--adapter nowhere --lora-rank 4");
    assert!(said.contains("cannot be used with"), "{said}");
    assert!(!folder.path().join("OUT").exists());
}
