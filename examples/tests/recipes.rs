//! The short recipes and the comparison as their users run them.

mod common;

use common::{fault, good, run};
use hydralign::core::Phase;
use hydralign::runs::{read_commands, read_metrics, read_samples};
use hydralign_examples::base_model_dir;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn every_recipe_runs_on_the_shipped_task() {
    let folder = tempfile::tempdir().unwrap();
    let recipes: [(&str, &[&str]); 7] = [
        ("dpo", &["--smoke"]),
        ("dpo", &["--smoke", "--loss", "orpo"]),
        ("kto", &["--smoke"]),
        (
            "spr",
            &["--smoke", "--iterations", "2", "--prompts-per-iteration", "4", "--beta", "ess=0.5"],
        ),
        ("grpo", &["--smoke", "--iterations", "2", "--method", "remax"]),
        ("best_of_n", &["--smoke", "--n", "2", "--train", "--train-prompts", "8"]),
        ("custom_algorithm", &["--smoke"]),
    ];
    for (name, args) in recipes {
        let text = good(&run(folder.path(), name, args));
        assert!(text.contains("gold score"), "{name}: {text}");
        let saved = folder.path().join(format!("runs/{name}-0/model/model.safetensors"));
        assert!(saved.exists(), "{name}");
        says_what_it_did(name, &folder.path().join(format!("runs/{name}-0")));
    }
    // The same model and data again: the references are where the first run left them.
    let again = good(&run(folder.path(), "dpo", &["--smoke"]));
    assert!(again.contains("128 reference log-probabilities found on disk"), "{again}");
    // Other settings went to a number of their own; the same settings replaced their own result.
    let there = |name: &str| folder.path().join(name).join("model/model.safetensors").exists();
    assert!(there("runs/dpo-0-2") && !folder.path().join("runs/dpo-0-3").exists());
    assert!(there("runs/dpo-0") && !folder.path().join("runs/dpo-0.new").exists());
    good(&run(folder.path(), "compare_runs", &["runs/dpo-0", "runs/dpo-0-2"]));
    let page = std::fs::read_to_string(folder.path().join("compare.html")).unwrap();
    assert!(page.contains("<td>loss</td><td>dpo</td><td>orpo</td>"), "{page}");
    let said = fault(&run(folder.path(), "compare_runs", &["runs/dpo-0", "runs"]));
    assert!(said.contains("runs is no run folder"), "{said}");
}

/// A run folder holds its numbers for people and for TensorBoard, and what the model says to the same prompts
/// before and after.
fn says_what_it_did(name: &str, folder: &Path) {
    let lines = read_metrics(&folder.join("metrics.jsonl")).unwrap();
    let steps: Vec<usize> = lines.iter().map(|line| line.step).collect();
    assert_eq!(steps, (1..=lines[0].steps).collect::<Vec<_>>(), "{name}");
    let samples = read_samples(&folder.join("samples.jsonl")).unwrap();
    let of = |step: usize| -> Vec<&str> {
        samples.iter().filter(|s| s.step == step).map(|s| s.prompt.as_str()).collect()
    };
    let (before, after) = (of(0), of(lines.len()));
    assert!(!before.is_empty() && before == after, "{name}: {} samples", samples.len());
    assert_eq!(samples.len(), 2 * before.len(), "{name}");
    assert!(samples.iter().all(|s| s.stage == name && s.scores.len() == 2), "{name}");
    let commands = read_commands(folder).unwrap();
    assert_eq!(commands[0].command[..2], [name, "--smoke"], "{name}");
    let tags = std::fs::read_dir(folder.join("tensorboard")).unwrap();
    let bytes = std::fs::read(tags.last().unwrap().unwrap().path()).unwrap();
    let tag = format!("{name}/{}", lines[0].values[0].0);
    let found = bytes.windows(tag.len()).filter(|window| *window == tag.as_bytes()).count();
    assert_eq!(found, lines.len(), "{name}: {tag}");
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("<dd>finished</dd>") && page.contains("<figure>"), "{name}");
}

#[test]
fn the_three_stages_tell_what_their_phases_held() {
    let folder = tempfile::tempdir().unwrap();
    let text = good(&run(folder.path(), "hydra_rlhf", &["--smoke", "--out", "out"]));
    assert!(text.contains("memory.svg"), "{text}");
    let lines = read_metrics(&folder.path().join("out/metrics.jsonl")).unwrap();
    let stages: Vec<&str> = lines.iter().map(|line| line.stage.as_str()).collect();
    assert_eq!(stages, ["sft", "hydra_sft", "ppo", "ppo", "ppo"]);
    assert!(lines.iter().all(|line| !line.memory.is_empty()));
    let last = &lines[4].memory;
    let of = |phase| last.iter().find(|r| r.phase == phase).unwrap();
    let (generate, update) = (of(Phase::Generate), of(Phase::Update));
    let held: Vec<&str> = update.held.keys().map(|category| category.name()).collect();
    assert_eq!(held, ["weights", "adapters", "heads", "optimizer", "experience"]);
    // What is accounted for is nearly all that is there when a phase begins. The shipped model's
    // file holds 787 328 numbers. A layer's adapter of rank 16: 16·(128+128) for queries and
    // output, 16·(128+64) for keys and values, 16·(128+344) for each of the three others.
    let adapter = 4 * 16 * (2 * 256 + 2 * 192 + 3 * 472);
    let models = 4 * (787_328 + 2 * adapter + 2 * 128) + 8 * (2 * adapter + 128);
    assert_eq!(generate.held.values().sum::<u64>(), models);
    assert!(generate.live_before >= models && generate.live_before < models + (1 << 20));
    assert!(update.peak > 2 * update.live_before, "a graph is larger than these models");
    for name in ["memory.svg", "memory_ppo.svg"] {
        let svg = std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
        for part in ["<svg", ">optimizer<", ">working<", ">generate<", ">update<"] {
            assert!(svg.contains(part), "{name}: {part}");
        }
    }
}

/// Files of a user, with the shipped base model as policy.
fn own_files(folder: &Path) -> Vec<(String, PathBuf)> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        (format!("--{}", name.split('.').next().unwrap()), path)
    };
    vec![
        write(
            "preferences.jsonl",
            "{\"prompt\": \"Guest Mira is sad and asks for tea.\\nReply:\", \"chosen\": \" Here is your tea.\", \"rejected\": \" Now go away!\"}\n\
             {\"prompt\": \"Guest Tom is busy and asks for jam.\\nReply:\", \"chosen\": \" Take care!\", \"rejected\": \" Here is your wax.\"}\n",
        ),
        write(
            "labels.jsonl",
            "{\"prompt\": \"Guest Mira is sad and asks for tea.\\nReply:\", \"completion\": \" Here is your tea.\", \"label\": true}\n\
             {\"prompt\": \"Guest Tom is busy and asks for jam.\\nReply:\", \"completion\": \" Here is your wax.\", \"label\": false}\n",
        ),
    ]
}

#[test]
fn recipes_take_the_user_s_own_model_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let model = base_model_dir();
    for (name, (flag, file)) in ["dpo", "kto"].iter().zip(own_files(folder.path())) {
        let out = folder.path().join(format!("{name}-out"));
        let args = [
            "--model",
            model.to_str().unwrap(),
            &flag,
            file.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        good(&run(folder.path(), name, &args));
        let saved = hydralign::models::load_checkpoint(
            &out.join("model"),
            &hydralign::burn::tensor::Device::flex(),
        );
        assert!(saved.is_ok(), "{name}");
        assert!(out.join("model/tokenizer.json").exists());
        let again = fault(&run(folder.path(), name, &args));
        assert!(again.contains("is not empty"), "{again}");
    }
}

#[test]
fn wrong_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = base_model_dir();
    let model = model.to_str().unwrap();
    let cases: [(&str, &[&str], &str); 9] = [
        ("dpo", &["--beta", "0"], "--beta must be above 0"),
        ("dpo", &["--model", model], "--preferences FILE"),
        ("dpo", &["--model", "nowhere", "--preferences", "x"], "nowhere"),
        ("spr", &["--beta", "x"], "--beta x"),
        ("spr", &["--samples", "1"], "--samples must be at least 2"),
        ("spr", &["--model", model], "--reward DIR is needed"),
        ("grpo", &["--model", model, "--reward", model], "no `score.weight`"),
        ("best_of_n", &["--n", "0"], "--n must be at least 1"),
        ("kto", &["--model", model, "--max-new-tokens", "100000"], "leaves no room"),
    ];
    for (name, args, wanted) in cases {
        let text = fault(&run(folder.path(), name, args));
        assert!(text.contains(wanted), "{name} {args:?}: {text}");
    }
}

#[test]
fn a_comparison_goes_on_where_it_was_stopped_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let compare = |methods: &str| {
        let args = ["--smoke", "--seeds", "0,1", "--out", "out", "--methods", methods];
        good(&run(folder.path(), "compare", &args))
    };
    compare("dpo");
    let results = folder.path().join("out/results");
    let before = std::fs::read(results.join("dpo-1.json")).unwrap();
    let text = compare("dpo,spr:beta=0.2,spr:beta=1,best_of_4");
    assert!(!text.contains("seed 0, dpo"), "it is there already: {text}");
    assert!(text.contains("seed 1, spr:beta=0.2"));
    assert_eq!(std::fs::read(results.join("dpo-1.json")).unwrap(), before);
    let outcome: Value =
        serde_json::from_slice(&std::fs::read(results.join("spr_beta_0.2-0.json")).unwrap())
            .unwrap();
    assert_eq!(outcome["error"], Value::Null);
    let last = &outcome["points"][outcome["at_tokens"].as_u64().unwrap() as usize];
    assert!(last["tokens"].as_u64().unwrap() >= 512, "{last}");
    assert!(outcome["phases"].as_array().unwrap().iter().any(|p| p["peak"].as_u64() > Some(0)));
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    for part in ["<svg", "Sensitivity to β", "spr:beta=0.2", "best_of_4", "Memory and time"] {
        assert!(page.contains(part), "{part}");
    }
    for outside in [" src=", " href=", "<script", "<link", "@import"] {
        assert!(!page.contains(outside), "the page holds everything that it shows: {outside}");
    }
    let markdown = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    assert!(markdown.contains("| dpo"), "{markdown}");
}

#[test]
fn a_comparison_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    for (args, wanted) in [
        (&["--methods", "sprr"][..], "unknown method `sprr`"),
        (&["--methods", "spr:gamma=1"], "unknown setting `gamma`"),
        (&["--tokens", "0"], "must be above 0"),
        (&["--report"], "no results yet"),
    ] {
        let text = fault(&run(folder.path(), "compare", args));
        assert!(text.contains(wanted), "{args:?}: {text}");
    }
    assert!(good(&run(folder.path(), "compare", &["--list"])).contains("spr_token"));
}
