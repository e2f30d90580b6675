//! Run folders, signals and settings.
#![cfg(unix)]

use crate::common;
use crate::sandbox::{Sandbox, perplexity};
use crate::table::{close, equal, names};
use hydralign::burn::tensor::Device;
use hydralign::models::{load_adapter, load_checkpoint};
use hydralign::runs::RunConfig;
use hydralign_examples::recipe::Recipe;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use toml::{Table, Value};

const DATA: &str = "--model base --preferences pairs3.jsonl";

/// The shipped base model and the data of these situations.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put_shipped("base");
    for name in ["pairs3.jsonl", "pairs40.jsonl", "prompts25.jsonl", "tiny.toml"] {
        sandbox.put(&format!("runs/{name}"), name);
    }
    sandbox
}

/// What a run's folder says of how it ended.
fn status(sandbox: &Sandbox, folder: &str) -> serde_json::Value {
    serde_json::from_str(&sandbox.read(&format!("{folder}/status.json"))).unwrap()
}

fn word(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn there(sandbox: &Sandbox, path: &str) -> bool {
    sandbox.path().join(path).exists()
}

/// A reward model: the base with a head of small numbers.
pub(crate) fn put_reward(sandbox: &Sandbox) {
    common::put_reward(&sandbox.path().join("reward"));
}

/// A program that signals reach, but for one that it is started to ignore, as by `nohup` or `&`.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(sandbox: &Sandbox, ignored: Option<&str>, name: &str, args: &str) -> Self {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().with_file_name("examples").join(name);
        let log = sandbox.path().join("log.txt");
        let out = File::create(&log).unwrap();
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM");
        command.args(ignored.map(|signal| format!("--ignore-signal={signal}")));
        command.arg(program).args(args.split_whitespace()).current_dir(sandbox.path());
        command.stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out);
        Self { child: command.spawn().unwrap(), log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until a file of the run holds a text.
    fn wait_for(&mut self, file: &Path, text: &str) {
        let began = Instant::now();
        while !fs::read_to_string(file).unwrap_or_default().contains(text) {
            assert!(began.elapsed() < Duration::from_secs(120), "{text}: {}", self.said());
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended before {text}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn send(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success()
        );
    }

    /// The exit status and what was said.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.said())
    }
}

fn loads(sandbox: &Sandbox, path: &str) -> bool {
    load_checkpoint(&sandbox.path().join(path), &Device::flex()).is_ok()
}

#[test]
fn runs_01_a_command_that_fails_leaves_the_result_before_it() {
    let sandbox = sandbox();
    sandbox.good("dpo", DATA);
    let before = fs::read(sandbox.path().join("runs/dpo-0/model/model.safetensors")).unwrap();
    let said = sandbox.refused("dpo", "--model base --preferences misspelt.jsonl");
    names("runs/01", "a misspelt file", &["misspelt.jsonl"], &said);
    let after = fs::read(sandbox.path().join("runs/dpo-0/model/model.safetensors")).unwrap();
    equal("runs/01", "the model of the run before", true, before == after);
    let said = sandbox.refused("dpo", "--model base --preferences pairs40.jsonl");
    names("runs/01", "another data set", &["runs/dpo-0", "--out", "--overwrite"], &said);
    sandbox.good("dpo", &format!("{DATA} --lr 1e-3 --overwrite"));
    let after = fs::read(sandbox.path().join("runs/dpo-0/model/model.safetensors")).unwrap();
    equal("runs/01", "replaced when asked", false, before == after);
    equal("runs/01", "nothing is left beside it", false, there(&sandbox, "runs/dpo-0.new"));
}

#[test]
fn runs_01_measuring_removes_no_model() {
    let sandbox = sandbox();
    put_reward(&sandbox);
    let args = "--model base --reward reward --prompts prompts25.jsonl --n 2 --max-new-tokens 4";
    sandbox.good("best_of_n", &format!("{args} --train"));
    equal("runs/01", "trained", true, loads(&sandbox, "runs/best_of_n-0/model"));
    sandbox.good("best_of_n", args);
    equal("runs/01", "after measuring", true, loads(&sandbox, "runs/best_of_n-0/model"));
}

#[test]
fn runs_01_three_stages_do_not_replace_another_result() {
    let sandbox = sandbox();
    let args = "--config tiny.toml --model base --prompts prompts25.jsonl --preferences";
    sandbox.good("hydra_rlhf", &format!("{args} pairs40.jsonl"));
    let said = sandbox.refused("hydra_rlhf", &format!("{args} pairs3.jsonl"));
    names("runs/01", "three stages", &["runs/hydra_ppo-0", "--out", "--overwrite"], &said);
    equal("runs/01", "still there", true, there(&sandbox, "runs/hydra_ppo-0/adapters/actor"));
}

#[test]
fn runs_02_a_stop_saves_before_it_shows() {
    let sandbox = sandbox();
    for (signal, ignored) in [("INT", None), ("TERM", Some("HUP")), ("HUP", Some("INT"))] {
        let out = format!("out-{signal}");
        let args = format!(
            "--model base --preferences pairs40.jsonl --prompts prompts25.jsonl --max-new-tokens 16 --epochs 100000 --out {out}"
        );
        let mut run = Running::start(&sandbox, ignored, "dpo", &args);
        run.wait_for(&run.log.clone(), "preference_loss");
        run.send(signal);
        let (code, said) = run.end();
        equal("runs/02", &format!("{signal}, {ignored:?} ignored: status"), Some(0), code);
        names("runs/02", "what was saved, and where", &["stopped", &format!("{out}/model")], &said);
        equal("runs/02", "weights", true, loads(&sandbox, &format!("{out}/model")));
        let status = status(&sandbox, &out);
        equal("own: status", "stopped", "stopped", word(&status["state"]));
        let (done, steps) = (&status["progress"]["done"], &status["progress"]["steps"]);
        names("own: status", "as it was said", &[&format!("after step {done} of {steps}")], &said);
    }
}

#[test]
fn runs_02_other_recipes_save_on_a_stop() {
    let sandbox = sandbox();
    put_reward(&sandbox);
    let labels = sandbox.read("pairs40.jsonl").lines().fold(String::new(), |all, line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let side = |key: &str, label: bool| {
            serde_json::json!({"prompt": row["prompt"], "completion": row[key], "label": label})
        };
        format!("{all}{}\n{}\n", side("chosen", true), side("rejected", false))
    });
    sandbox.write("labels.jsonl", &labels);
    let sampled = "--reward reward --prompts prompts25.jsonl --max-new-tokens 4 --samples 2";
    let recipes = [
        (
            "kto",
            "--labels labels.jsonl --prompts prompts25.jsonl --epochs 100000 --minibatch 8",
            "kto 10/",
        ),
        ("grpo", &format!("{sampled} --iterations 100000 --prompts-per-iteration 2"), "grpo 2/"),
        ("spr", &format!("{sampled} --iterations 100000 --prompts-per-iteration 2"), "spr 2/"),
    ];
    for (name, args, sign) in recipes {
        let args = format!("--model base {args} --out {name}-out");
        let mut run = Running::start(&sandbox, None, name, &args);
        run.wait_for(&run.log.clone(), sign);
        run.send("INT");
        let (code, said) = run.end();
        equal("runs/02", &format!("{name}: status"), Some(0), code);
        names("runs/02", name, &["stopped", "are saved in"], &said);
        equal("runs/02", "weights", true, loads(&sandbox, &format!("{name}-out/model")));
    }
}

#[test]
fn runs_03_17_a_stop_in_every_stage_keeps_the_weights() {
    let sandbox = sandbox();
    let demonstrations = sandbox.read("pairs40.jsonl").lines().fold(String::new(), |all, line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let row = serde_json::json!({"prompt": row["prompt"], "completion": row["chosen"]});
        format!("{all}{row}\n")
    });
    sandbox.write("demonstrations.jsonl", &demonstrations);
    sandbox.write("sft.toml", "[generation]\nmax_new_tokens = 4\n[sft]\nepochs = 100000\n");
    sandbox.put("runs/03/long.toml", "ppo.toml").put("runs/17/long.toml", "hydra_sft.toml");
    let cases = [
        ("sft", "INT", None, " --demonstrations demonstrations.jsonl", "models/sft"),
        ("hydra_sft", "INT", None, "", "models/hydra_sft"),
        ("ppo", "TERM", Some("HUP"), "", "adapters/actor"),
    ];
    for (stage, signal, ignored, more, saved) in cases {
        let args = format!(
            "--config {stage}.toml --model base --prompts prompts25.jsonl --preferences pairs3.jsonl --out {stage}{more}"
        );
        let mut run = Running::start(&sandbox, ignored, "hydra_rlhf", &args);
        let metrics = sandbox.path().join(stage).join("metrics.jsonl");
        run.wait_for(&metrics, &format!("{{\"stage\":\"{stage}\",\"step\":2"));
        run.send(signal);
        let (code, said) = run.end();
        let input = if stage == "ppo" { "runs/03" } else { "runs/17" };
        equal(input, &format!("{signal} in stage {stage}: status"), Some(0), code);
        names(input, stage, &[&format!("stopped in stage {stage}")], &said);
        equal(input, saved, true, there(&sandbox, &format!("{stage}/{saved}")));
        let status = status(&sandbox, stage);
        equal("own: status", "three stages, stopped", "stopped", word(&status["state"]));
        equal("own: status", "three stages, the stage", stage, word(&status["stage"]));
    }
    equal("runs/17", "the joint weights load", true, loads(&sandbox, "hydra_sft/models/hydra_sft"));
}

#[test]
fn own_a_stop_before_anything_was_learnt_and_a_stop_of_a_replacement() {
    let sandbox = sandbox();
    sandbox.good("dpo", &format!("{DATA} --out OUT"));
    let before = fs::read(sandbox.path().join("OUT/model/model.safetensors")).unwrap();
    let args = "--model base --preferences pairs40.jsonl --epochs 100000 --out OUT --overwrite";
    let mut run = Running::start(&sandbox, None, "dpo", args);
    run.wait_for(&run.log.clone(), "preference_loss");
    run.send("INT");
    let (code, said) = run.end();
    equal("own: replacement", "status", Some(0), code);
    names("own: replacement", "where", &["OUT.new/model"], &said);
    let after = fs::read(sandbox.path().join("OUT/model/model.safetensors")).unwrap();
    equal("own: replacement", "the complete result stays", true, before == after);
    let args = "--model base --preferences pairs3.jsonl --prompts prompts25.jsonl --max-new-tokens 50 --out OUT2";
    let run = Running::start(&sandbox, None, "dpo", args);
    std::thread::sleep(Duration::from_millis(60));
    run.send("INT");
    let (code, said) = run.end();
    // The signal may come before the handler is there, or after the last step.
    equal("own: early stop", "no half result", code == Some(0), there(&sandbox, "OUT2/model"));
    println!("{said}");
}

#[test]
fn own_a_stop_of_a_program_that_writes_lines_names_those_that_are_there() {
    let sandbox = sandbox();
    sandbox.write("texts.jsonl", &"{\"text\": \"Guest Mira is sad.\"}\n".repeat(100_000));
    sandbox.write("prompts.jsonl", &"{\"prompt\": \"Guest Mira\"}\n".repeat(20_000));
    for (program, input) in [("score", "texts.jsonl"), ("generate", "prompts.jsonl")] {
        for signal in ["INT", "TERM"] {
            let args = format!("--model base --input {input} --out {program}{signal}");
            let mut run = Running::start(&sandbox, None, program, &args);
            run.wait_for(&sandbox.path().join(format!("{program}{signal}.partial")), "\n");
            run.send(signal);
            let (code, said) = run.end();
            let what = format!("{program} on {signal}");
            equal("own: stopped lines", &what, Some(1), code);
            names("own: stopped lines", &what, &["interrupted", ".partial holds"], &said);
            let half = there(&sandbox, &format!("{program}{signal}"));
            equal("own: stopped lines", "no half result", false, half);
        }
    }
}

#[test]
fn runs_11_numbers_that_are_not_finite() {
    let sandbox = sandbox();
    for (flag, value) in [
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--lr", "-1"),
        ("--lr", "2"),
        ("--lr", "1e19"),
        ("--beta", "nan"),
        ("--epochs", "0"),
        ("--minibatch", "0"),
    ] {
        let said = sandbox.refused("dpo", &format!("{DATA} {flag}={value} --out OUT"));
        names("runs/11", &format!("{flag} {value}"), &[flag], &said);
    }
    equal("runs/11", "nothing is written", false, there(&sandbox, "OUT"));
    // The gradient is finite at the first step, and no longer at the second.
    let run = "--model base --preferences pairs40.jsonl --minibatch 8 --lr 1";
    let said = sandbox.refused("dpo", &format!("{run} --nll-weight 1e18 --out OUT2"));
    names("runs/11", "a bad step", &["last good weights", "OUT2/model"], &said);
    equal("runs/11", "the last good weights are finite", true, loads(&sandbox, "OUT2/model"));
    equal("runs/11", "the folder says so", "failed", word(&status(&sandbox, "OUT2")["state"]));
    sandbox.good("dpo", &format!("{run} --out OUT3"));
    for model in ["OUT2/model", "OUT3/model"] {
        sandbox.good("generate", &format!("--model {model} --prompt Guest --max-new-tokens 4"));
        sandbox.write("text.jsonl", "{\"text\": \"Guest Mira is sad.\"}\n");
        let said = sandbox
            .good("score", &format!("--model {model} --input text.jsonl --out scores --overwrite"));
        let finite = perplexity(&said).is_finite();
        equal("runs/11", &format!("the largest rate: {model} gives numbers"), true, finite);
    }
    for (key, text) in [
        ("ppo.lr.peak", "[ppo.lr]\npeak = nan\n"),
        ("optimizer.epsilon", "[optimizer]\nepsilon = 0.0\n"),
        ("sft.minibatch", "[sft]\nminibatch = 0\n"),
        ("hydra_sft.loss.ranking_weight", "[hydra_sft.loss]\nranking_weight = inf\n"),
        ("lora.alpha", "[lora]\nalpha = nan\n"),
        ("ppo.sampler.temperature", "[ppo.sampler]\ntemperature = 0.0\n"),
        ("ppo.ppo.kl", "[ppo.ppo.kl]\ncoef = nan\n"),
        ("evaluation.held_out", "[evaluation]\nheld_out = nan\n"),
        ("task.preferences", "[task]\npreferences = 0\n"),
        ("memory_budget", "memory_budget = \"much\"\n"),
    ] {
        sandbox.write("bad.toml", text);
        let said = sandbox.refused("hydra_rlhf", "--config bad.toml --out OUT4");
        let words: Vec<&str> = key.split('.').filter(|k| *k != "kl").collect();
        names("runs/11", key, &words, &said);
    }
}

/// A file may not grow past a limit here, as on a disk that is full.
#[test]
fn own_weights_that_cannot_be_written_are_told_of() {
    let sandbox = sandbox();
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join("dpo");
    let program = program.display();
    let command = format!("trap '' XFSZ; ulimit -f 1000; exec {program} {DATA} --out OUT");
    let output = Command::new("sh").args(["-c", &command]).current_dir(sandbox.path()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    equal("own: full disk", "status", Some(1), output.status.code());
    names(
        "own: full disk",
        "where",
        &["cannot save the weights after step 1 of 1", "OUT/model"],
        &said,
    );
    equal("own: full disk", "no half result", false, there(&sandbox, "OUT/model"));
}

#[test]
fn runs_14_a_failed_start_is_not_in_the_way() {
    let sandbox = sandbox();
    sandbox.refused("dpo", "--model base --preferences misspelt.jsonl --out OUT");
    sandbox.good("dpo", &format!("{DATA} --out OUT"));
    equal("runs/14", "the corrected command", true, loads(&sandbox, "OUT/model"));
    let said = sandbox.refused("dpo", &format!("{DATA} --out OUT"));
    names("runs/14", "the same again", &["is not empty", "--overwrite"], &said);
    equal("own: status", "finished", "finished", word(&status(&sandbox, "OUT")["state"]));
    sandbox.write("file", "");
    let said = sandbox.refused("dpo", &format!("{DATA} --out file/OUT"));
    names("own: no folder", "said at the start", &["file"], &said);
    equal("own: no folder", "before training", false, said.contains("preference_loss"));
}

#[test]
fn runs_15_16_others_can_read_what_is_saved() {
    let sandbox = sandbox();
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().with_file_name("examples").join("dpo");
    let command = format!("umask 022; exec {} {DATA} --out OUT", program.display());
    let status = Command::new("sh").args(["-c", &command]).current_dir(sandbox.path()).status();
    assert!(status.unwrap().success());
    for entry in fs::read_dir(sandbox.path().join("OUT/model")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        equal("runs/15", &entry.file_name().to_string_lossy(), 0o644, mode);
    }
    let args = "--config tiny.toml --model base --prompts prompts25.jsonl --preferences pairs40.jsonl --out RUN";
    sandbox.good("hydra_rlhf", args);
    let config: serde_json::Value =
        serde_json::from_str(&sandbox.read("RUN/adapters/actor/adapter_config.json")).unwrap();
    let base = PathBuf::from(config["base_model_name_or_path"].as_str().unwrap());
    equal("runs/16", "found from any folder", true, base.is_absolute() && base.is_dir());
    let base = load_checkpoint(&base, &Device::flex()).unwrap();
    let actor = sandbox.path().join("RUN/adapters/actor");
    let fits = load_adapter(&actor, base.trunk.architecture(), &Device::flex()).is_ok();
    equal("runs/16", "the adapter fits its base", true, fits);
}

#[test]
fn runs_04_one_setting_changes_one_setting() {
    let sandbox = sandbox();
    sandbox.put("runs/04/one_setting.toml", "one.toml");
    let load = |name: &str| {
        RunConfig::load(&sandbox.path().join(name), &Recipe::default()).unwrap().settings
    };
    let (one, ours) = (load("one.toml"), Recipe::default());
    equal("runs/04", "ppo.ppo.epochs", 2, one.ppo.ppo.epochs);
    equal("runs/04", "ppo.ppo.micro_batch", 32, one.ppo.ppo.micro_batch);
    equal("runs/04", "ppo.ppo.kl", ours.ppo.ppo.kl, one.ppo.ppo.kl);
    equal("runs/04", "lora.rank", 16, one.lora.rank);
    equal("runs/04", "hydra_sft.loss.ranking_weight", 0.5, one.hydra_sft.loss.ranking_weight);
}

/// Every key of the saved settings, set alone, changes itself and nothing else.
#[test]
fn runs_04_every_key_alone() {
    let defaults = Table::try_from(Recipe::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.toml");
    let mut keys = Vec::new();
    leaves(&defaults, &mut Vec::new(), &mut keys);
    assert!(keys.len() > 50, "{}", keys.len());
    for key in keys {
        let mut expected = defaults.clone();
        let alone = set(&mut expected, &key);
        fs::write(&path, toml::to_string(&alone).unwrap()).unwrap();
        let read = RunConfig::load(&path, &Recipe::default())
            .unwrap_or_else(|e| panic!("{key:?}: {e}"))
            .settings;
        assert_eq!(Table::try_from(read).unwrap(), expected, "{key:?}");
    }
    equal("runs/04", "every key alone", true, true);
}

fn leaves(table: &Table, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) => leaves(inner, path, found),
            // Another kind is another table: the test of configurations has it.
            _ if key == "kind" => {}
            _ => found.push(path.clone()),
        }
        path.pop();
    }
}

/// Gives a leaf another value that is allowed; returns the file that has it alone.
fn set(table: &mut Table, key: &[String]) -> Table {
    let (first, rest) = key.split_first().unwrap();
    let value = table.get_mut(first).unwrap();
    if !rest.is_empty() {
        let inner = set(value.as_table_mut().unwrap(), rest);
        return Table::from_iter([(first.clone(), Value::Table(inner))]);
    }
    *value = match (first.as_str(), &*value) {
        ("decay", _) => "constant".into(),
        ("estimator", _) => "k3".into(),
        ("frozen_dtype", _) => "bf16".into(),
        ("placement", _) => "ppo".into(),
        ("on_bad_row", _) => "skip".into(),
        ("truncate", _) => "drop".into(),
        ("targets", _) => Value::Array(vec!["query".into()]),
        (_, Value::Array(_)) => Value::Array(vec![3.into()]),
        (_, Value::Boolean(on)) => Value::Boolean(!on),
        (_, Value::Integer(n)) => Value::Integer(n + 1),
        (_, Value::Float(_)) => Value::Float(0.25),
        (_, other) => panic!("{key:?} {other:?}"),
    };
    Table::from_iter([(first.clone(), value.clone())])
}

#[test]
fn runs_04_saved_settings_name_the_inputs_and_repeat_the_run() {
    let sandbox = sandbox();
    let args = "--model base --preferences pairs3.jsonl --epochs 2 --loss ipo --beta 0.5";
    sandbox.good("dpo", &format!("{args} --out OUT"));
    let text = sandbox.read("OUT/config.toml");
    let words =
        ["loss = \"ipo\"", "epochs = 2", "[inputs.model]", "[inputs.preferences]", "fingerprint"];
    names("runs/04", "the settings of dpo", &words, &text);
    sandbox.good("dpo", "--config OUT/config.toml --out AGAIN");
    equal("runs/04", "the same settings", text.clone(), sandbox.read("AGAIN/config.toml"));
    let weights = |dir: &str| fs::read(sandbox.path().join(dir).join("model/model.safetensors"));
    equal(
        "runs/04",
        "the same weights",
        true,
        weights("OUT").unwrap() == weights("AGAIN").unwrap(),
    );
    sandbox.good("dpo", "--config OUT/config.toml --beta 0.25 --out OTHER");
    let other = text.replace("beta = 0.5", "beta = 0.25");
    equal("runs/04", "a flag overrides its key", other, sandbox.read("OTHER/config.toml"));
    sandbox.write("bad.toml", "betta = 0.5\n");
    let said = sandbox.refused("dpo", &format!("{DATA} --config bad.toml"));
    names("runs/04", "a misspelt key", &["bad.toml", "betta"], &said);
    sandbox.write("bad.toml", "lr = \"fast\"\n");
    let said = sandbox.refused("dpo", &format!("{DATA} --config bad.toml"));
    names("runs/04", "a value of the wrong kind", &["bad.toml", "--lr", "fast"], &said);

    let args =
        "--config tiny.toml --model base --prompts prompts25.jsonl --preferences pairs3.jsonl";
    sandbox.good("hydra_rlhf", &format!("{args} --out RUN"));
    sandbox.put("runs/pairs40.jsonl", "pairs3.jsonl");
    let said = sandbox.good("hydra_rlhf", "--config RUN/config.toml --out RUN2");
    names(
        "runs/04",
        "an input that has changed",
        &["preferences `pairs3.jsonl` has changed"],
        &said,
    );
    let (one, two) = (sandbox.read("RUN/config.toml"), sandbox.read("RUN2/config.toml"));
    let settings = |text: &str| text.split("[inputs").next().unwrap().to_owned();
    equal("runs/04", "three stages: the same settings", settings(&one), settings(&two));
    equal("runs/04", "three stages: another fingerprint", false, one == two);
}

/// The commands that would take away what they read, of every program that replaces results.
#[test]
fn own_no_run_replaces_its_inputs() {
    let sandbox = sandbox();
    sandbox.put("runs/10/labels.jsonl", "labels.jsonl");
    put_reward(&sandbox);
    sandbox.good("dpo", &format!("{DATA} --out R"));
    let at = |name: &str| sandbox.path().join(name);
    for name in ["pairs40.jsonl", "prompts25.jsonl", "labels.jsonl"] {
        fs::copy(at(name), at("R").join(name)).unwrap();
    }
    fs::rename(at("reward"), at("R/reward")).unwrap();
    std::os::unix::fs::symlink("R", at("L")).unwrap();
    let before = fs::read(at("R/model/model.safetensors")).unwrap();
    let sampled = "--prompts prompts25.jsonl --reward";
    for (program, args, input) in [
        ("dpo", "--preferences pairs40.jsonl --model R/model", "R/model"),
        ("dpo", "--preferences pairs40.jsonl --model L/model", "L/model"),
        ("dpo", "--model base --preferences R/pairs40.jsonl", "R/pairs40.jsonl"),
        ("dpo", "--model base --preferences R/pairs4?.jsonl", "R/pairs40.jsonl"),
        ("kto", "--model base --labels R/labels.jsonl", "R/labels.jsonl"),
        ("spr", &format!("--model base {sampled} R/reward"), "R/reward"),
        ("grpo", &format!("--model base {sampled} L/reward"), "L/reward"),
        ("best_of_n", &format!("--model base {sampled} R/reward --train"), "R/reward"),
        (
            "hydra_rlhf",
            "--model base --preferences pairs3.jsonl --prompts R/prompts25.jsonl",
            "R/prompts25.jsonl",
        ),
    ] {
        for out in ["R", "L"] {
            let said = sandbox.refused(program, &format!("{args} --out {out} --overwrite"));
            let words = [&format!("`{input}` lies in the run folder `{out}`"), "--out DIR"];
            names("own: inputs", &format!("{program} --out {out}"), &words, &said);
        }
    }
    let after = fs::read(at("R/model/model.safetensors")).unwrap();
    equal("own: inputs", "the model stays", true, before == after);
    sandbox.good("dpo", &format!("{DATA} --out L --overwrite"));
    equal(
        "own: inputs",
        "the link stays",
        true,
        fs::symlink_metadata(at("L")).unwrap().is_symlink(),
    );
    equal("own: inputs", "its folder is replaced", false, there(&sandbox, "R/reward"));
    equal("own: inputs", "by the result", true, loads(&sandbox, "R/model"));
}

#[test]
fn own_paths_of_a_configuration_are_named_with_it() {
    let sandbox = sandbox();
    let inputs = |pairs: &str| {
        format!("[inputs.model]\npath = \"base\"\n[inputs.preferences]\npath = \"{pairs}\"\n")
    };
    sandbox.write("c.toml", &inputs("pairs3.jsonl"));
    let said = sandbox.good("dpo", "--config c.toml --out A");
    equal("own: inputs", "no fingerprint, no change", false, said.contains("has changed"));
    sandbox.write("c.toml", &inputs("gone.jsonl"));
    let said = sandbox.refused("dpo", "--config c.toml --out B");
    names("own: inputs", "missing", &["c.toml", "inputs.preferences", "gone.jsonl"], &said);
    let three = format!("{}[inputs.prompts]\npath = \"prompts25.jsonl\"\n", inputs("gone.jsonl"));
    sandbox.write("c.toml", &three);
    let said = sandbox.refused("hydra_rlhf", "--config c.toml --out B");
    names("own: inputs", "three stages", &["c.toml", "inputs.preferences", "gone.jsonl"], &said);
    sandbox.good("dpo", "--config c.toml --preferences pairs3.jsonl --prompts prompts25.jsonl --max-new-tokens 4 --out B");
    for (program, flag) in [("dpo", "seed"), ("dpo", "epochs"), ("hydra_rlhf", "seed")] {
        let data = if program == "dpo" { DATA } else { "" };
        let said = sandbox.refused(program, &format!("{data} --{flag} {} --out C", u64::MAX));
        let limit = i64::MAX.to_string();
        names("own: integers", &format!("{program} --{flag}"), &[flag, &limit], &said);
        sandbox.write("large.toml", &format!("{flag} = {}\n", u64::MAX));
        let said = sandbox.refused(program, &format!("{data} --config large.toml --out C"));
        names("own: integers", &format!("{program}, {flag} of a file"), &[flag, &limit], &said);
    }
    equal("own: integers", "nothing is written", false, there(&sandbox, "C"));
}

/// Policy and reference begin as one function, up to the last bits of passes with and without a gradient.
#[test]
fn own_nothing_is_preferred_before_the_first_step() {
    let sandbox = sandbox();
    let run = "--model base --preferences pairs40.jsonl --minibatch 40 --lr 0 --epochs 10";
    let more = ["", "--micro-batch 3", "--score-batch 7 --logprob-chunk 5", "--segment-blocks 1"];
    for (number, flags) in more.iter().enumerate() {
        let said = sandbox.good("dpo", &format!("{run} {flags} --out {number}"));
        let words = ["accuracy 0.5000", "preference_loss 0.6931"];
        names("own: start", &format!("dpo {flags}"), &words, &said);
        let margin = said.split("margin ").nth(1).unwrap().split_whitespace().next().unwrap();
        close("own: start", &format!("dpo {flags}: margin"), 0.0, margin.parse().unwrap(), 1e-6);
    }
    let said = sandbox.refused("dpo", &format!("{run} --frozen-dtype bf16 --out B"));
    names("own: start", "no model of dpo is frozen", &["--frozen-dtype", "no effect"], &said);
}

/// Runs elsewhere share their references there, and leave nothing here.
#[test]
fn own_references_lie_beside_the_run() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path().join("disk")).unwrap();
    sandbox.good("dpo", &format!("{DATA} --out disk/a"));
    equal("own: references", "nothing here", false, there(&sandbox, "runs"));
    let said = sandbox.good("dpo", &format!("{DATA} --lr 1e-5 --out disk/b"));
    names("own: references", "the second run", &["found on disk"], &said);
}
