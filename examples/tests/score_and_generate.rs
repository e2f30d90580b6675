//! The programs `score` and `generate` as their users run them, on checkpoints whose numbers
//! transformers has computed.

use hydralign_examples::base_model_dir;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program of this package, which `cargo test` builds beside its tests.
fn program(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "{}: run `cargo test --workspace`", path.display());
    let mut command = Command::new(path);
    command.env("RUST_BACKTRACE", "0");
    command
}

fn golden(name: &str) -> PathBuf {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/hydralign-models/tests/golden");
    root.join(name)
}

fn run(name: &str, args: &[&str], input: &str) -> Output {
    let mut command = program(name);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that stops at its arguments closes its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Rows of an f32 or i64 tensor of a reference.
fn rows(file: &Path, name: &str) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let numbers: Vec<f64> = match view.dtype() {
        safetensors::Dtype::I64 => view
            .data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
            .collect(),
        _ => view
            .data()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect(),
    };
    let width = numbers.len() / view.shape()[0];
    numbers.chunks(width).map(<[f64]>::to_vec).collect()
}

fn tokens(row: &[f64]) -> Vec<u32> {
    row.iter().map(|&t| t as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1f64, |m, v| m.max(v.abs()));
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * scale, "{what}: {a} {b}");
    }
}

#[test]
fn scores_are_the_log_probabilities_and_logits_of_transformers() {
    for name in ["gpt2", "mistral", "gemma3", "opt_postnorm"] {
        let model = golden(&format!("families/{name}"));
        let reference = model.join("reference.safetensors");
        let ids = rows(&reference, "input_ids");
        // Lines of other lengths around them, so that the batch is ragged.
        let mut input = String::from("{\"tokens\": [5]}\n\n");
        for row in &ids {
            input += &format!("{}\n", json!({"tokens": tokens(row)}));
        }
        input += &format!("{}\n", json!({"tokens": &tokens(&ids[0])[..4]}));
        let dir = tempfile::tempdir().unwrap();
        let logits = dir.path().join("logits.safetensors").display().to_string();
        let args = ["--model", model.to_str().unwrap(), "--logits", &logits];
        let output = run("score", &args, &input);
        let got = lines(&output);
        assert_eq!(got[0], json!({"tokens": [5], "logprobs": [], "sum": 0.0}));
        let expected = rows(&reference, "logprobs");
        for (line, expected) in got[1..3].iter().zip(&expected) {
            assert_close(&numbers(&line["logprobs"]), expected, name);
            let sum = expected.iter().sum::<f64>();
            assert!((line["sum"].as_f64().unwrap() / sum - 1.0).abs() < 1e-5, "{name}");
        }
        assert_close(&numbers(&got[3]["logprobs"]), &expected[0][..3], name);
        let total: f64 =
            expected.iter().flatten().sum::<f64>() + expected[0][..3].iter().sum::<f64>();
        let count = 2 * expected[0].len() + 3;
        let said = text(&output.stderr);
        let said: f64 = said.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap();
        let perplexity = (-total / count as f64).exp();
        assert!((said / perplexity - 1.0).abs() < 1e-4, "{said} {perplexity}");
        let stored = |i: usize| rows(Path::new(&logits), &format!("logits.{i}")).concat();
        let all = rows(&reference, "logits");
        assert_close(&stored(1), &all[0], name);
        assert_close(&stored(2), &all[1], name);
        let vocab = all[0].len() / ids[0].len();
        assert_close(&stored(3), &all[0][..4 * vocab], name);
        assert_eq!(stored(0).len(), vocab);
    }
}

#[test]
fn adapters_and_classifiers_are_looked_through() {
    let dir = golden("adapters/gptneox_fused");
    let reference = dir.join("reference.safetensors");
    let input: Vec<String> = rows(&reference, "input_ids")
        .iter()
        .map(|row| json!({"tokens": tokens(row)}).to_string())
        .collect();
    let base = golden("families/gptneox");
    let out = tempfile::tempdir().unwrap();
    let logits = out.path().join("l.safetensors").display().to_string();
    let args = [
        "--model",
        base.to_str().unwrap(),
        "--adapter",
        dir.to_str().unwrap(),
        "--logits",
        &logits,
    ];
    lines(&run("score", &args, &input.join("\n")));
    assert_close(&rows(Path::new(&logits), "logits.1").concat(), &rows(&reference, "on")[1], "on");

    let dir = golden("adapters/qwen2_classifier");
    let reference = dir.join("reference.safetensors");
    let (ids, mask) = (rows(&reference, "input_ids"), rows(&reference, "attention_mask"));
    let input: Vec<String> = (ids.iter().zip(&mask))
        .map(|(row, mask)| {
            json!({"tokens": &tokens(row)[..mask.iter().sum::<f64>() as usize]}).to_string()
        })
        .collect();
    let base = golden("families/qwen2_rm");
    for (adapter, tensor) in [(None, "off"), (Some(dir.to_str().unwrap()), "on")] {
        let mut args = vec!["--model", base.to_str().unwrap()];
        args.extend(adapter.map(|a| ["--adapter", a]).into_iter().flatten());
        let got = lines(&run("score", &args, &input.join("\n")));
        let scores: Vec<f64> = got.iter().map(|line| line["score"].as_f64().unwrap()).collect();
        assert_close(&scores, &rows(&reference, tensor).concat(), tensor);
    }
}

#[test]
fn a_batch_size_changes_nothing() {
    let model = base_model_dir().display().to_string();
    let input = "{\"text\": \"Guest Mira is sad.\"}\n{\"prompt\": \"Guest Tom\", \"completion\": \" is happy and asks for tea.\"}\n";
    let with = |tokens: &str, eos: bool| {
        let mut args = vec!["--model", &model, "--batch-tokens", tokens];
        args.extend(eos.then_some("--eos"));
        lines(&run("score", &args, input))
    };
    let (alone, together) = (with("1", false), with("4096", false));
    for (a, b) in alone.iter().zip(&together) {
        assert_eq!(a["tokens"], b["tokens"]);
        assert_close(&numbers(&a["logprobs"]), &numbers(&b["logprobs"]), "batches");
    }
    let ended = with("4096", true);
    assert_eq!(ended[0]["tokens"], alone[0]["tokens"], "a text is scored as it is");
    let count = |line: &Value| line["tokens"].as_array().unwrap().len();
    assert_eq!(count(&ended[1]), count(&alone[1]) + 1);
}

#[test]
fn bad_lines_are_named() {
    let model = golden("families/gpt2").display().to_string();
    let failure = |args: &[&str], input: &str| {
        let output = run("score", &[&["--model", &model], args].concat(), input);
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let good = "{\"tokens\": [1, 2]}\n";
    for (bad, reason) in [
        ("{\"tokens\": [80]}", "token 80 is outside the vocabulary of 80"),
        ("{\"tokens\": []}", "nothing to score"),
        ("{\"tokens\": [-1]}", "expected {\"tokens\""),
        ("{\"tokens\"", "EOF while parsing"),
        ("{\"text\": \"x\"}", "tokenizer.json"),
    ] {
        let error = failure(&[], &format!("{good}{bad}"));
        assert!(error.contains("standard input, line 2") && error.contains(reason), "{error}");
    }
    let long = json!({"tokens": vec![1; 65]}).to_string();
    assert!(failure(&[], &long).contains("65 tokens, but the model has a context of 64"));
    assert!(failure(&[], "").contains("the file has no records"));
    assert!(failure(&["--input", "absent.jsonl"], "").contains("absent.jsonl"));
    assert!(failure(&["--adapter", "absent"], good).contains("adapter_config.json"));
    assert!(failure(&["--device", "abacus"], good).contains("unknown device `abacus`"));
}

#[test]
fn prompts_may_come_from_standard_input() {
    let model = base_model_dir().display().to_string();
    let args = ["--model", &model, "--input", "-", "--max-new-tokens", "1", "--truncate", "drop"];
    let long = "tea ".repeat(4096);
    let rows = json!([{"prompt": "Guest"}, {"prompt": "Reply", "x": 1}, {"prompt": long}]);
    let output = run("generate", &args, &rows.to_string());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers = text(&output.stdout);
    assert!(answers.contains("── Guest") && answers.contains("── Reply"), "{answers}");
    assert_eq!(answers.matches("── ").count(), 2);
    assert!(text(&output.stderr).contains("1 examples were left out"));
    let output = run("generate", &args, "");
    assert!(text(&output.stderr).contains("standard input: the file has no records"));
}

#[test]
fn generation_writes_what_it_drew_and_score_agrees() {
    let model = base_model_dir().display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl").display().to_string();
    let prompt = "Guest Mira is sad and asks for tea.\nReply:";
    let args = [
        "--model",
        &model,
        "--prompt",
        prompt,
        "--samples",
        "3",
        "--seed",
        "5",
        "--max-new-tokens",
        "12",
        "--overwrite",
        "--out",
        &out,
    ];
    let read = || -> Vec<Value> {
        let output = run("generate", &args, "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let file = std::fs::read_to_string(&out).unwrap();
        file.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let drawn = read();
    assert_eq!(drawn, read(), "a seed decides");
    assert_eq!(drawn.len(), 3);
    assert!(drawn.iter().any(|d| d["tokens"] != drawn[0]["tokens"]), "samples differ");
    for one in &drawn {
        assert_eq!(one["prompt"], prompt);
        let parts = [&one["prompt_tokens"], &one["tokens"]].map(numbers);
        let line = json!({"tokens": tokens(&parts.concat())}).to_string();
        let scored = &lines(&run("score", &["--model", &model], &line))[0];
        let logprobs = numbers(&scored["logprobs"]);
        assert_close(
            &logprobs[parts[0].len() - 1..],
            &numbers(&one["logprobs"]),
            "log-probabilities",
        );
    }
}

#[test]
fn greedy_text_is_streamed_and_chats_take_turns() {
    let model = base_model_dir().display().to_string();
    let prompt = "Guest Mira is sad and asks for tea.\nReply:";
    let args = ["--model", &model, "--prompt", prompt, "--greedy", "--max-new-tokens", "12"];
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl").display().to_string();
    let streamed = text(&run("generate", &args, "").stdout);
    assert!(run("generate", &[&args[..], &["--out", &out]].concat(), "").status.success());
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(
        streamed.trim_end_matches('\n'),
        written["text"].as_str().unwrap().trim_end_matches('\n')
    );

    let output = run("generate", &["--model", &model, "--chat"], "Hi\n");
    assert!(text(&output.stderr).contains("has no chat template"));
    // The same model with a template.
    let with_template = dir.path().join("model");
    std::fs::create_dir(&with_template).unwrap();
    for entry in std::fs::read_dir(base_model_dir()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, with_template.join(path.file_name().unwrap())).unwrap();
    }
    let template = "{% for m in messages %}{{ m.content }}\n{% endfor %}Reply:";
    std::fs::write(with_template.join("chat_template.jinja"), template).unwrap();
    let model = with_template.display().to_string();
    let args = ["--model", &model, "--chat", "--greedy", "--max-new-tokens", "12"];
    let output = run("generate", &args, "Guest Mira is sad and asks for tea.\n\nAnd rice.\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers = text(&output.stdout);
    assert!(answers.starts_with(streamed.trim_end_matches('\n')), "{answers} {streamed}");
    assert!(answers.trim_end().lines().count() >= 2, "{answers}");
}
