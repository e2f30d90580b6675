//! Methods and their flags.

use crate::runs::put_reward;
use crate::sandbox::Sandbox;
use crate::table::{equal, names};
use hydralign::burn::tensor::Device;
use hydralign::models::load_checkpoint;
use hydralign::runs::read_metrics;
use serde_json::Value;

/// The first row that `generate` wrote.
fn first_row(folder: &Sandbox, name: &str) -> Value {
    serde_json::from_str(folder.read(name).lines().next().unwrap()).unwrap()
}

#[test]
fn runs_07_mismatched_rows_are_cut_to_the_context() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/07", "07");
    let said = folder.good("kto", "--model base --labels 07/labels.jsonl --out out");
    names("runs/07", "mismatched rows beyond the context: trains", &["saved in"], &said);
}

#[test]
fn runs_08_the_length_of_a_row_is_its_own() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/08", "08");
    let flags = "--model base --max-new-tokens 40 --ignore-eos --greedy";
    folder.good("generate", &format!("{flags} --input 08/two.jsonl --out two.jsonl"));
    folder.good("generate", &format!("{flags} --input 08/alone.jsonl --out alone.jsonl"));
    let (together, alone) = (first_row(&folder, "two.jsonl"), first_row(&folder, "alone.jsonl"));
    let tokens = |row: &Value| row["tokens"].as_array().unwrap().len();
    equal("runs/08", "tokens beside a long prompt", 40, tokens(&together));
    equal("runs/08", "the same tokens as alone", &alone["tokens"], &together["tokens"]);
    equal("runs/08", "the same end as alone", &alone["finish"], &together["finish"]);
    let text = folder.read("two.jsonl");
    let long: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    equal("runs/08", "the long prompt gets what is left of the context", 11, tokens(&long));
    equal("runs/08", "and ends there", "length", long["finish"].as_str().unwrap());
}

#[test]
fn runs_10_kto_skips_no_row_and_says_what_labels_weigh() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/10", "10");
    let run = "--model base --labels 10/labels.jsonl";
    let said = folder.refused("kto", &format!("{run} --minibatch 1 --out one"));
    names("runs/10", "a minibatch of one is refused", &["--minibatch", "at least 2"], &said);
    equal("runs/10", "and nothing is saved", false, folder.path().join("one/model").exists());
    // Three rows in twos: the one that is left over joins the others.
    let said = folder.good("kto", &format!("{run} --minibatch 2 --out two"));
    names("runs/10", "a left-over row joins a minibatch", &["saved in"], &said);
    names("runs/10", "one label only is said", &["same label"], &said);
    let rows = folder.read("10/labels.jsonl").replacen("true", "false", 1);
    folder.write("uneven.jsonl", &rows);
    let said = folder.good("kto", "--model base --labels uneven.jsonl --out uneven");
    names(
        "runs/10",
        "labels out of balance are said",
        &["2.00 times", "--desirable-weight"],
        &said,
    );
    let weighed = "--model base --labels uneven.jsonl --desirable-weight 0.5 --out even";
    let said = folder.good("kto", weighed);
    equal("runs/10", "weights that balance them are not", false, said.contains("times the others"));
    names(
        "runs/10",
        "the weight is saved",
        &["desirable_weight = 0.5"],
        &folder.read("even/config.toml"),
    );
}

#[test]
fn a_flag_without_an_effect_is_refused() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/pairs3.jsonl", "pairs.jsonl");
    for (program, flags, flag) in [
        ("grpo", "--method dapo --kl 0.2", "--kl"),
        ("grpo", "--method rloo --clip-high 0.3", "--clip-high"),
        ("grpo", "--method grpo --gamma 0.9", "--gamma"),
        ("grpo", "--method grpo --sampling-rounds 3", "--sampling-rounds"),
        ("grpo", "--model base --preferences pairs.jsonl", "--preferences"),
        ("spr", "--model base --preferences pairs.jsonl", "--preferences"),
        ("best_of_n", "--model base --preferences pairs.jsonl", "--preferences"),
        ("best_of_n", "--train-prompts 8", "--train"),
        ("dpo", "--loss ipo --label-smoothing 0.1", "--label-smoothing"),
        ("dpo", "--loss dpo --gamma-beta-ratio 1", "--gamma-beta-ratio"),
        ("dpo", "--loss simpo --frozen-dtype bf16", "--frozen-dtype"),
        ("dpo", "--loss cpo --reference-free", "--reference-free"),
        ("dpo", "--loss dpo --frozen-dtype bf16", "--frozen-dtype"),
        ("kto", "--model base --labels x.jsonl --preferences pairs.jsonl", "--preferences"),
        ("generate", "--model base --prompt x --greedy --top-k 3", "--top-k"),
    ] {
        let said = folder.refused(program, flags);
        names("own: flags", &format!("{program} {flags}"), &[flag], &said);
    }
}

#[test]
fn a_setting_out_of_range_is_refused() {
    let folder = Sandbox::new();
    for (program, flags, words) in [
        ("grpo", "--method rloo --minibatches 2", "without a ratio"),
        ("grpo", "--method remax --epochs 2", "without a ratio"),
        ("grpo", "--samples 1", "--samples must be at least 2"),
        ("grpo", "--temperature 0", "--temperature"),
        ("grpo", "--clip-low 1.5", "surrogate.low"),
        ("dpo", "--label-smoothing 0.5", "below 1/2"),
        ("dpo", "--loss cpo --nll-weight=-1", "--nll-weight"),
        ("kto", "--undesirable-weight 0", "undesirable_weight"),
        ("kto", "--beta nan", "beta"),
    ] {
        let said = folder.refused(program, flags);
        names("own: ranges", &format!("{program} {flags}"), &[words], &said);
    }
}

#[test]
fn a_rollout_without_a_signal_is_shown_and_not_stepped_on() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/prompts25.jsonl", "prompts.jsonl");
    put_reward(&folder);
    let run = "--model base --reward reward --prompts prompts.jsonl --iterations 1 \
        --prompts-per-iteration 2 --samples 2 --max-new-tokens 4";
    let weights = |name: &str| {
        let path = folder.path().join(name);
        load_checkpoint(&path, &Device::flex()).unwrap().fingerprint()
    };
    // So cold that the responses to a prompt are one, and their scores equal.
    let reported = |out: &str, name: &str| {
        let lines = read_metrics(&folder.path().join(out).join("metrics.jsonl")).unwrap();
        lines[0].get(name)
    };
    for (method, name, value) in
        [("dr-grpo", "equal_groups", 1.0), ("grpo", "equal_groups", 1.0), ("dapo", "groups", 0.0)]
    {
        let said = folder
            .good("grpo", &format!("{run} --method {method} --temperature 0.001 --out {method}"));
        names("own: no signal", method, &["update_steps 0"], &said);
        equal("own: no signal", method, Some(value), reported(method, name));
        equal("own: no signal", method, Some(0.0), reported(method, "update_steps"));
        let same = weights("base") == weights(&format!("{method}/model"));
        equal("own: no signal", &format!("{method}: the weights stay"), true, same);
    }
    let said = folder.good("grpo", &format!("{run} --method dapo --temperature 3 --out warm"));
    names("own: no signal", "dapo with groups that differ", &["equal_groups", "saved in"], &said);
    equal("own: no signal", "steps", true, reported("warm", "update_steps") > Some(0.0));
    equal("own: no signal", "learns", false, weights("base") == weights("warm/model"));
}

/// Flags that say where things are or what to read.
const PLACES: [&str; 13] = [
    "model",
    "adapter",
    "reward",
    "prompts",
    "preferences",
    "labels",
    "out",
    "overwrite",
    "config",
    "resume",
    "set",
    "dry-run",
    "help",
];
/// Flags that are off unless they are given, and then have no value.
const OFF: [&str; 16] = [
    "logprob-chunk",
    "segment-blocks",
    "lora-rank",
    "lora-alpha",
    "target-kl",
    "reward-ending",
    "eval-every",
    "eval-share",
    "best-metric",
    "best-is",
    "patience",
    "min-change",
    "kl-limit",
    "on-kl",
    "entropy-limit",
    "on-entropy",
];
/// Values of flags that some methods do not have.
const VALUES: [(&str, &str); 7] = [
    ("label-smoothing", "0.1"),
    ("gamma-beta-ratio", "1"),
    ("kl", "0.2"),
    ("clip-low", "0.1"),
    ("clip-high", "0.1"),
    ("gamma", "0.9"),
    ("sampling-rounds", "2"),
];

/// The flags of a program, from its help.
fn flags_of(folder: &Sandbox, program: &str) -> Vec<String> {
    let help = folder.good(program, "--help");
    let flag = |line: &str| {
        let rest = line.trim_start().trim_start_matches("-h, ").strip_prefix("--")?;
        rest.split([' ', '=']).next().map(str::to_owned)
    };
    help.lines().filter_map(flag).collect()
}

#[test]
fn saved_settings_show_every_flag_and_give_the_same_run() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/pairs3.jsonl", "pairs.jsonl");
    folder.put("runs/prompts25.jsonl", "prompts.jsonl").put("runs/10/labels.jsonl", "labels.jsonl");
    put_reward(&folder);
    let pairs = "--model base --preferences pairs.jsonl";
    let sampled = "--model base --reward reward --prompts prompts.jsonl --max-new-tokens 4 \
        --iterations 1 --prompts-per-iteration 2 --samples 2";
    let mut runs = vec![
        ("kto", "--model base --labels labels.jsonl".to_owned(), String::new()),
        ("spr", sampled.to_owned(), String::new()),
    ];
    for loss in ["dpo", "ipo", "hinge", "simpo", "cpo", "orpo"] {
        runs.push(("dpo", pairs.to_owned(), format!("--loss {loss}")));
    }
    for method in ["grpo", "dr-grpo", "dapo", "gspo", "rloo", "reinforce-pp", "remax"] {
        runs.push(("grpo", sampled.to_owned(), format!("--method {method}")));
    }
    for (number, (program, data, method)) in runs.into_iter().enumerate() {
        folder.good(program, &format!("{data} {method} --out {number}"));
        let text = folder.read(&format!("{number}/config.toml"));
        let saved: toml::Table = toml::from_str(&text).unwrap();
        let left_out = |flag: &String| {
            let there = saved.contains_key(&flag.replace('-', "_"));
            !there && !PLACES.contains(&&**flag) && !OFF.contains(&&**flag)
        };
        for flag in flags_of(&folder, program).iter().filter(|flag| left_out(flag)) {
            let value = VALUES.iter().find(|(name, _)| name == flag);
            let (_, value) =
                value.unwrap_or_else(|| panic!("{program} {method}: --{flag} in {text}"));
            let said = folder.refused(program, &format!("{method} --{flag} {value}"));
            names(
                "own: settings",
                &format!("{program} {method}: no --{flag}"),
                &["no effect"],
                &said,
            );
        }
        folder.good(program, &format!("--config {number}/config.toml --out again-{number}"));
        let again = folder.read(&format!("again-{number}/config.toml"));
        equal("own: settings", &format!("{program} {method}: the same again"), text, again);
    }
}

#[test]
fn advice_on_long_rows_is_not_what_was_done_already() {
    let folder = Sandbox::new();
    folder.put_shipped("base");
    let long = " tea".repeat(80);
    let pair = serde_json::json!({"prompt": "Guest", "chosen": long, "rejected": " no"});
    folder.write("pairs.jsonl", &format!("{pair}\n"));
    let run = "--model base --preferences pairs.jsonl --out out";
    let said = folder.refused("dpo", run);
    names("own: advice", "nothing is cut", &["--truncate", "where that is enough"], &said);
    for truncate in ["keep-end", "keep-start"] {
        let said = folder.refused("dpo", &format!("{run} --truncate {truncate}"));
        names(
            "own: advice",
            truncate,
            &["not enough", "--truncate drop", "--on-bad-row skip"],
            &said,
        );
        equal("own: advice", truncate, false, said.contains(truncate));
    }
}
