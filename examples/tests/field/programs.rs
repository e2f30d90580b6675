//! What programs write and where: streamed text, output files, settings that do not fit together.

use crate::sandbox::Sandbox;
use crate::table::{equal, names};
use serde_json::{Value, json};
use std::fs;

const LINES: &str = "{\"text\": \"Guest Mira is sad.\"}\n{\"text\": \"Guest Tom\"}\n";

/// A byte that is no part of a character makes the decoder replace the good ones before it.
#[test]
fn streamed_text_is_the_text_of_the_file() {
    let dir = Sandbox::new();
    dir.put("00_legacy", "m");
    for seed in 0..6 {
        let args =
            format!("--model m --prompt hi --temperature 1.5 --seed {seed} --max-new-tokens 24");
        let streamed = dir.good("generate", &args);
        dir.good("generate", &format!("{args} --out f.jsonl --overwrite"));
        let row: Value = serde_json::from_str(&dir.read("f.jsonl")).unwrap();
        let whole = format!("{}\n", row["text"].as_str().unwrap());
        equal("00_legacy", "streamed byte tokens", whole, streamed);
    }
}

#[test]
fn outputs_take_nothing_from_inputs() {
    let dir = Sandbox::new();
    dir.put_shipped("m").write("f", LINES);
    fs::hard_link(dir.path().join("f"), dir.path().join("hard")).unwrap();
    for (flag, out) in [("--out", "f"), ("--out", "./f"), ("--out", "hard"), ("--logits", "f")] {
        let said = dir.refused("score", &format!("--model m --input f {flag} {out}"));
        names("own: score", "the output is the input", &["same file", out], &said);
        equal("own: score", "the input stays", LINES.to_owned(), dir.read("f"));
    }
    let said = dir.refused("score", "--model m --input f --out o --logits ./o");
    names("own: score", "two outputs are one file", &["same file", "o"], &said);
    dir.write("p", "{\"prompt\": \"Guest Mira\"}\n");
    let said = dir.refused("generate", "--model m --input p --out p");
    names("own: generate", "the output is the input", &["same file", "p"], &said);
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let said =
            dir.refused("generate", &format!("--model m --input p --out m/{file} --overwrite"));
        names("own: generate", "the output is of the model", &["same file", file], &said);
        for flag in ["--out", "--logits"] {
            let said =
                dir.refused("score", &format!("--model m --input f {flag} m/{file} --overwrite"));
            names("own: score", "the output is of the model", &["same file", file], &said);
        }
    }
    dir.write("z.partial", LINES);
    let said = dir.refused("score", "--model m --input z.partial --out z --overwrite");
    names("own: score", "the input is what a stop left", &["same file", "z.partial"], &said);
    let said = dir.refused("score", "--model m --input f --out z");
    names("own: score", "a stop has left lines", &["z.partial", "--overwrite"], &said);
    equal("own: score", "they stay", LINES.to_owned(), dir.read("z.partial"));
}

#[test]
fn a_failing_run_leaves_the_earlier_output() {
    let dir = Sandbox::new();
    dir.put_shipped("m").write("out", "old").write("bad", &format!("{LINES}{{\n"));
    dir.write("p", "{\"prompt\": \"Guest Mira\"}\n");
    dir.refused("score", "--model m --input bad --out out --overwrite");
    equal("own: score", "a bad line", "old".to_owned(), dir.read("out"));
    dir.refused("generate", "--model m --input p --temperature 0 --out out --overwrite");
    equal("own: generate", "a bad setting", "old".to_owned(), dir.read("out"));
    dir.write("f", LINES);
    for (name, args) in [
        ("score", "--model m --input f --out out"),
        ("score", "--model m --input f --logits out"),
        ("generate", "--model m --input p --out out"),
    ] {
        let said = dir.refused(name, args);
        names(&format!("own: {name}"), "an earlier result", &["`out`", "--overwrite"], &said);
        equal(&format!("own: {name}"), "it stays", "old".to_owned(), dir.read("out"));
    }
    dir.good("score", "--model m --input f --out out --overwrite");
    equal("own: score", "then a good one", 2, dir.read("out").lines().count());
    let left = dir.path().join("out.partial").exists();
    equal("own: score", "nothing is left beside it", false, left);
}

#[cfg(target_os = "linux")]
#[test]
fn devices_and_links_are_written_through() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let dir = Sandbox::new();
    dir.put_shipped("m").write("f", LINES);
    symlink("/dev/full", dir.path().join("full")).unwrap();
    symlink("there", dir.path().join("link")).unwrap();
    for flag in ["--out", "--logits"] {
        let said = dir.refused("score", &format!("--model m --input f {flag} full"));
        names("own: score", "a full disk", &["full", "space"], &said);
        let kind = fs::metadata("/dev/full").unwrap().file_type();
        equal("own: score", "the device stays", true, kind.is_char_device());
        dir.good("score", &format!("--model m --input f {flag} link --overwrite"));
        let link = fs::symlink_metadata(dir.path().join("link")).unwrap();
        equal("own: score", "the link stays", true, link.is_symlink());
        fs::remove_file(dir.path().join("there")).unwrap();
    }
    let said = dir.good("score", "--model m --input f --out /dev/stdout");
    equal("own: score", "standard output by name", 2, said.matches("logprobs").count());
}

#[test]
fn an_empty_completion_has_no_score() {
    let dir = Sandbox::new();
    dir.put_shipped("m").write("f", "{\"prompt\": \"Guest Mira\", \"completion\": \"\"}\n");
    let said = dir.refused("score", "--model m --input f");
    names("own: score", "an empty completion", &["f, line 1", "`completion` is empty"], &said);
    dir.good("score", "--model m --input f --eos");
}

/// A token that was added to the tokenizer and not to the model.
#[test]
fn tokens_without_an_embedding_are_named_where_they_stand() {
    let dir = Sandbox::new();
    dir.put_shipped("m");
    let mut file: Value = serde_json::from_str(&dir.read("m/tokenizer.json")).unwrap();
    let added = json!({"id": 478, "content": "<new>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true});
    file["added_tokens"].as_array_mut().unwrap().push(added);
    dir.write("m/tokenizer.json", &file.to_string());
    let pair = |chosen: &str| json!({"prompt": "Guest", "chosen": chosen, "rejected": " no"});
    dir.write("pairs.jsonl", &format!("{}\n{}\n", pair(" yes"), pair(" <new>")));
    let words = ["pairs.jsonl, line 2", "`chosen`", "478", "<new>"];
    let said = dir.refused("dpo", "--model m --preferences pairs.jsonl --epochs 1");
    names("own: added token", "dpo", &words, &said);
    dir.write("f", "{\"text\": \"Guest\"}\n{\"text\": \"<new>\"}\n");
    let said = dir.refused("score", "--model m --input f");
    names("own: added token", "score", &["f, line 2", "478", "<new>"], &said);
    let said = dir.refused("generate", "--model m --prompt <new>");
    names("own: added token", "generate", &["`prompt`", "478", "<new>"], &said);
}

#[test]
fn room_for_responses_is_named_with_the_context() {
    let dir = Sandbox::new();
    dir.put_shipped("m").write("p", "{\"prompt\": \"Guest Mira is sad.\"}\n");
    let config: Value = serde_json::from_str(&dir.read("m/config.json")).unwrap();
    let context = config["max_position_embeddings"].as_u64().unwrap();
    let longest = context - 1;
    let args = format!("--model m --prompts p --preferences p --max-new-tokens {longest}");
    let said = dir.refused("dpo", &args);
    let words = ["p, line 1", &format!("max_new_tokens is {longest}"), &context.to_string()];
    names("own: no room", "dpo", &words, &said);
}

#[test]
fn standard_input_is_read_or_refused_by_name() {
    let dir = Sandbox::new();
    dir.put_shipped("m");
    for args in ["dpo --preferences -", "kto --labels -"] {
        let (program, flag) = args.split_once(' ').unwrap();
        let said = dir.refused(program, &format!("--model m {flag}"));
        names("own: -", program, &["standard input"], &said);
    }
}

/// The folder of the cache cannot be made where a file stands.
#[test]
fn references_that_cannot_be_kept_end_no_run() {
    let dir = Sandbox::new();
    dir.put_shipped("m").write("references", "in the way");
    let pair = json!({"prompt": "Guest", "chosen": " yes", "rejected": " no"});
    dir.write("pairs.jsonl", &format!("{pair}\n"));
    let args = "--model m --preferences pairs.jsonl --epochs 1 --out out";
    let said = dir.good("dpo", args);
    names("own: no cache", "dpo", &["not kept", "saved in"], &said);
}

/// The smoke run has one step of supervised fine-tuning and a warm-up of ten.
#[test]
fn a_warm_up_longer_than_its_stage_is_said() {
    let dir = Sandbox::new();
    let said = dir.good("dpo", "--smoke --epochs 1 --max-new-tokens 8");
    names("own: warm-up", "sft", &["sft: 1 steps end within the warm-up of 10"], &said);
}

/// A template whose turns end in a token that is no EOS of the folder, as those of base models do.
#[test]
fn turns_without_a_stop_are_said() {
    let dir = Sandbox::new();
    dir.put_shipped("m").write("p", "{\"prompt\": \"Guest\"}\n");
    let template = |end: &str| {
        format!(
            "{{% for m in messages %}}{{{{ m['role'] + ': ' + m['content'] + '{end}' }}}}\n{{% endfor %}}"
        )
    };
    let args = "--model m --input p --max-new-tokens 2";
    dir.write("m/chat_template.jinja", &template("<|over|>"));
    let said = dir.good("generate", args);
    names("own: end of turn", "no EOS", &["ends a turn with `<|over|>`"], &said);
    dir.write("m/chat_template.jinja", &template("<|end|>"));
    let said = dir.good("generate", args);
    equal("own: end of turn", "an EOS", false, said.contains("ends a turn"));
}

/// A reader that goes away takes nothing from the run: what was learnt is saved.
#[cfg(unix)]
#[test]
fn a_closed_or_full_output_costs_no_weights() {
    let folder = Sandbox::new();
    folder.put_shipped("base").put("runs/pairs3.jsonl", "pairs.jsonl");
    let tests = std::env::current_exe().unwrap();
    let dpo = tests.parent().unwrap().with_file_name("examples").join("dpo");
    let command = format!("{} --model base --preferences pairs.jsonl", dpo.display());
    let full = if std::path::Path::new("/dev/full").exists() { "> /dev/full" } else { ">&-" };
    for (name, end) in [("full", full), ("closed", ">&-"), ("gone", "| true")] {
        let line = format!("{command} --out {name} {end}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).current_dir(folder.path()).output().unwrap();
        let saved = folder.path().join(name).join("model/model.safetensors").exists();
        equal("own: output", &format!("standard output is {name}: saved"), true, saved);
    }
}

/// A flag that would change nothing says so.
#[test]
fn flags_of_another_way_to_run_are_refused() {
    let dir = Sandbox::new();
    dir.put_shipped("m");
    for (program, way, flag) in [
        ("generate", "--chat", "--samples 2"),
        ("generate", "--chat", "--batch-size 2"),
        ("generate", "--chat", "--truncate drop"),
        ("generate", "--prompt hi", "--truncate keep-end"),
        ("generate", "--prompt hi", "--on-bad-row skip"),
        ("generate", "--prompt hi", "--overwrite"),
        ("generate", "--prompt hi", "--system S"),
        ("generate", "--input p", "--system S"),
        ("best_of_n", "", "--out o"),
        ("best_of_n", "", "--overwrite"),
    ] {
        let model = if way.is_empty() { "" } else { "--model m" };
        let said = dir.refused(program, &format!("{model} {way} {flag}"));
        let named = flag.split(' ').next().unwrap();
        names(&format!("own: {program}"), &format!("{way} {flag}"), &[named], &said);
    }
}

/// What is cut leaves room for the whole response; what is not cut gets what there is.
#[test]
fn a_prompt_that_is_cut_leaves_room_for_its_response() {
    let dir = Sandbox::new();
    dir.put_shipped("m")
        .write("p", &json!({"prompt": "Guest Mira is sad. ".repeat(40)}).to_string());
    let config: Value = serde_json::from_str(&dir.read("m/config.json")).unwrap();
    let context = config["max_position_embeddings"].as_u64().unwrap() as usize;
    let args = "--model m --input p --ignore-eos --out o --overwrite --truncate";
    let longest = context - 10;
    for truncate in ["keep-end", "keep-start"] {
        dir.good("generate", &format!("{args} {truncate} --max-new-tokens {longest}"));
        let row: Value = serde_json::from_str(&dir.read("o")).unwrap();
        let count = |field: &str| row[field].as_array().unwrap().len();
        let got = (count("prompt_tokens"), count("tokens"));
        equal("own: generate", &format!("--truncate {truncate}"), (10, longest), got);
    }
    let said = dir.refused("generate", &format!("{args} keep-end --max-new-tokens {context}"));
    names("own: generate", "no room for a prompt", &["--max-new-tokens", "--truncate"], &said);
}

/// Rows that were left out do not shift those behind them.
#[test]
fn an_answer_says_which_row_it_answers() {
    let dir = Sandbox::new();
    let rows = "{\"prompt\": \"Guest Mira\"}\n{\"prompt\": 3}\n\n{\"prompt\": \"Guest Tom\"}\n";
    dir.put_shipped("m").write("p", rows);
    let args = "--model m --input p --max-new-tokens 2 --samples 2 --out o --on-bad-row skip";
    dir.good("generate", args);
    let place = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["file"].clone(), line["row"].clone())
    };
    let got: Vec<(Value, Value)> = dir.read("o").lines().map(place).collect();
    let expected: Vec<(Value, Value)> = [1, 1, 4, 4].map(|row| ("p".into(), row.into())).into();
    equal("own: generate", "the rows of the answers", expected, got);
}
