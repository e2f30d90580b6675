//! Recipes in files as their users run them: what is shipped runs, what is wrong is named with its place, and a dry
//! run says what the run then does.

mod common;

use common::{fault, good, run};
use hydralign::memory::format_bytes;
use hydralign::runs::{read_metrics, read_predicted};
use hydralign_examples::base_model_dir;
use std::path::{Path, PathBuf};

fn recipes() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What makes a recipe of three stages, of rows, of responses small.
const STAGES: &[&str] = &[
    "task.demonstrations=16",
    "task.preferences=16",
    "sft.minibatch=8",
    "sft.micro_batch=8",
    "hydra_sft.training.minibatch=8",
    "hydra_sft.training.micro_batch=8",
    "ppo.steps=2",
    "ppo.prompts=4",
    "ppo.ppo.micro_batch=2",
    "generation.max_new_tokens=4",
    "evaluation.samples=1",
];
const ROWS: &[&str] = &["minibatch=24", "max_new_tokens=4"];
const RESPONSES: &[&str] =
    &["smoke=true", "iterations=2", "prompts_per_iteration=2", "samples=2", "max-new-tokens=4"];

/// The name of a recipe, its program, what makes it small and which file its data are.
const SHIPPED: [(&str, &str, &[&str], Option<&str>); 13] = [
    ("hydra_ppo", "hydra_rlhf", STAGES, None),
    ("j_hydra_ppo", "hydra_rlhf", STAGES, None),
    ("ppo_in_a_budget", "hydra_rlhf", STAGES, None),
    ("sft", "sft", ROWS, Some("demonstrations")),
    ("reward_model", "reward_model", ROWS, Some("preferences")),
    ("dpo", "dpo", ROWS, Some("preferences")),
    ("dpo_lora", "dpo", ROWS, Some("preferences")),
    ("simpo", "dpo", ROWS, Some("preferences")),
    ("kto", "kto", ROWS, Some("labels")),
    ("grpo", "grpo", RESPONSES, None),
    ("dapo", "grpo", RESPONSES, None),
    ("rloo", "grpo", RESPONSES, None),
    ("spr", "spr", RESPONSES, None),
];

/// The flags that run a shipped recipe for two steps.
fn flags(name: &str, small: &[&str], data: Option<&str>) -> Vec<String> {
    let config = shown(&recipes().join(format!("{name}.toml")));
    let mut flags = vec!["--config".into(), config, "--out".into(), name.into()];
    let mut set = small.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    if let Some(data) = data {
        set.push(format!("model={}", base_model_dir().display()));
        set.push(format!("{data}={}", recipes().join(format!("data/{data}.jsonl")).display()));
    }
    flags.extend(set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
    flags
}

fn call(folder: &Path, program: &str, flags: &[String]) -> String {
    good(&run(folder, program, &flags.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// The steps and tokens that a dry run says of a stage.
fn said(dry: &str, stage: &str) -> (usize, usize) {
    let line = dry.lines().find(|line| line.split_whitespace().next() == Some(stage));
    let words: Vec<&str> = line.unwrap_or_else(|| panic!("{stage}: {dry}")).split(' ').collect();
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[2])
}

#[test]
fn every_shipped_recipe_runs_for_two_steps_as_its_dry_run_says() {
    let there = std::fs::read_dir(recipes()).unwrap().map(|entry| entry.unwrap().path());
    let files = there.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    assert_eq!(files.count(), SHIPPED.len());
    let folder = tempfile::tempdir().unwrap();
    for (name, program, small, data) in SHIPPED {
        let flags = flags(name, small, data);
        let empty = tempfile::tempdir().unwrap();
        let dry = call(empty.path(), program, &[&flags[..], &["--dry-run".to_owned()]].concat());
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "{name}");
        call(folder.path(), program, &flags);
        let out = folder.path().join(name);
        let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
        assert!(config.starts_with(&format!("program = \"{program}\"\n")), "{config}");
        let lines = read_metrics(&out.join("metrics.jsonl")).unwrap();
        for stage in ["sft", "hydra_sft", "ppo", program] {
            let of: Vec<_> = lines.iter().filter(|line| line.stage == stage).collect();
            if of.is_empty() {
                continue;
            }
            let (steps, tokens) = said(&dry, stage);
            assert_eq!((steps, of.len()), (2, 2), "{name} {stage}: {dry}");
            // The mean length of responses; prompts are in the tokens too.
            let lengths: f64 = of.iter().filter_map(|line| line.get("length")).sum();
            assert!(tokens as f64 > 4.0 * lengths, "{name} {stage}: {dry}");
        }
        if program == "hydra_rlhf" {
            for (phase, bytes) in &read_predicted(&out).unwrap()[0].phases {
                let row = |line: &str| -> bool {
                    line.starts_with("ppo ")
                        && line.contains(&format!(" {phase} "))
                        && line.ends_with(&format!(" {}", format_bytes(*bytes)))
                };
                assert!(dry.lines().any(row), "{name} {phase} {bytes}: {dry}");
            }
        }
    }
}

#[test]
fn a_dry_run_counts_the_tokens_that_the_data_have() {
    let folder = tempfile::tempdir().unwrap();
    // By transformers 5.23.0 with the tokenizer of the shipped base: prompts, replies and an end to each.
    for (program, data, tokens) in [
        ("sft", "demonstrations", 1506),
        ("reward_model", "preferences", 2805),
        ("dpo", "preferences", 2805),
        ("kto", "labels", 1383),
    ] {
        for epochs in [1, 3] {
            let times = format!("epochs={epochs}");
            let small = ["minibatch=20", &times];
            let flags = flags(program, &small, Some(data));
            let dry =
                call(folder.path(), program, &[&flags[..], &["--dry-run".to_owned()]].concat());
            assert_eq!(said(&dry, program), (3 * epochs, tokens * epochs), "{dry}");
        }
    }
}

#[test]
fn a_dry_run_refuses_what_the_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = flags("dpo", ROWS, Some("preferences"));
    call(folder.path(), "dpo", &flags);
    flags.push("--dry-run".into());
    let refused = |flags: &[String]| {
        fault(&run(folder.path(), "dpo", &flags.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let text = refused(&flags);
    assert!(text.contains("is not empty") && text.contains("--overwrite"), "{text}");
    flags[3] = "elsewhere".into();
    let text = refused(&[&flags[..], &["--set".into(), "max_new_tokens=100000".into()]].concat());
    assert!(text.contains("is given twice"), "{text}");
    flags.retain(|flag| flag != "max_new_tokens=4");
    let at = flags.iter().position(|f| f == "minibatch=24").unwrap() + 1;
    flags[at] = "--max-new-tokens=100000".into();
    let text = refused(&flags);
    assert!(text.contains("leaves no room"), "{text}");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &[&str], &[&str]); 14] = [
        (
            "dpo",
            "program = \"kto\"\n",
            &[],
            &["run.toml is a configuration of kto, and this is dpo"],
        ),
        ("hydra_rlhf", "program = \"dpo\"\n", &[], &["of dpo, and this is hydra_rlhf"]),
        (
            "dpo",
            "loss = \"ipo\"\n\nbetta = 1.0\n",
            &[],
            &["run.toml:3:1: unknown setting `betta`: did you mean `beta`?", "label_smoothing, "],
        ),
        (
            "dpo",
            "",
            &["--set", "losss=ipo"],
            &["--set losss: unknown setting `losss`: did you mean `loss`?"],
        ),
        (
            "dpo",
            "seed = 1\nbeta = -1\n",
            &[],
            &["run.toml:2:1: `beta = -1`", "--beta must be above 0, and finite: it is -1"],
        ),
        ("dpo", "beta = 1.0\n", &["--set", "beta=-2"], &["--set beta=-2", "must be above 0"]),
        (
            "dpo",
            "loss = \"dppo\"\n",
            &[],
            &["run.toml:1:1: `loss = \"dppo\"`", "[possible values: dpo, ipo,"],
        ),
        ("kto", "lr = 2.0\n", &[], &["run.toml:1:1: `lr = 2.0`", "between 0 and 1"]),
        (
            "dpo",
            "",
            &["--set", "beta=1", "--beta", "2"],
            &["--set beta and --beta are one setting"],
        ),
        (
            "hydra_rlhf",
            "[ppo.ppo]\nclip_rnage = 0.1\n",
            &[],
            &["run.toml:2:1: in `ppo.ppo.clip_rnage`", "did you mean `clip_range`?"],
        ),
        (
            "hydra_rlhf",
            "[ppo.lr]\npeak = 7.0\n",
            &[],
            &["run.toml:2:1: ppo.lr.peak: `peak` is 7, but must be between 0 and 1"],
        ),
        (
            "hydra_rlhf",
            "[ppo.lr]\npeak = 7.0\n",
            &["--set", "ppo.lr.peak=8"],
            &["--set ppo.lr.peak=8: ppo.lr.peak: `peak` is 8, but must be between 0 and 1"],
        ),
        (
            "hydra_rlhf",
            "",
            &["--set", "ppo.lr.paek=0.1"],
            &["--set: in `ppo.lr.paek`: unknown field `paek`", "did you mean `peak`?"],
        ),
        ("hydra_rlhf", "", &["--set", "ppo.steps=2", "--steps", "3"], &["leave one of them out"]),
    ];
    for (program, file, args, wanted) in cases {
        std::fs::write(folder.path().join("run.toml"), file).unwrap();
        let text = fault(&run(folder.path(), program, &[&["--config", "run.toml"], args].concat()));
        assert!(wanted.iter().all(|part| text.contains(part)), "{program} {args:?}: {text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_setting_wins_over_the_file_and_not_over_a_run_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--set".to_owned(), "beta=0.5".into(), "--set".into(), "loss=hinge".into()];
    let flags = [&flags("dpo", ROWS, Some("preferences"))[..], &more].concat();
    call(folder.path(), "dpo", &flags);
    let config = std::fs::read_to_string(folder.path().join("dpo/config.toml")).unwrap();
    assert!(config.contains("beta = 0.5\n") && config.contains("loss = \"hinge\"\n"), "{config}");
    let refused = |program: &str, args: &[&str]| fault(&run(folder.path(), program, args));
    let text = refused("dpo", &["--resume", "dpo", "--set", "beta=1"]);
    assert!(text.contains("leave --set out"), "{text}");
    let text = refused("dpo", &["--resume", "dpo", "--dry-run"]);
    assert!(text.contains("leave --dry-run out"), "{text}");
    let text = refused("kto", &["--resume", "dpo"]);
    assert!(text.contains("dpo/config.toml is a configuration of dpo, and this is kto"), "{text}");
    // A file that names no program is anybody's.
    let path = folder.path().join("dpo/config.toml");
    std::fs::write(&path, config.strip_prefix("program = \"dpo\"\n").unwrap()).unwrap();
    call(folder.path(), "dpo", &["--config".into(), shown(&path), "--out".into(), "x".into()]);
}
