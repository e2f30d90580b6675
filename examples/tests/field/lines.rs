//! Files and their lines.

use crate::conversations::sums;
use crate::sandbox::{Sandbox, perplexity};
use crate::table::{equal, names};
use serde_json::Value;

/// The user's files of a folder, beside a model.
fn folder(files: &[&str]) -> Sandbox {
    let folder = Sandbox::new();
    folder.put("00_base", "model");
    for file in files {
        folder.put(&format!("files/{file}"), file.rsplit('/').next().unwrap());
    }
    folder
}

/// A count that a run's `data.json` holds.
fn count(folder: &Sandbox, name: &str) -> Value {
    let counts: Value = serde_json::from_str(&folder.read("out/data.json")).unwrap();
    counts["preferences"].pointer(name).unwrap().clone()
}

const DPO: &str = "--model model --max-new-tokens 4 --overwrite --out out --preferences";

#[test]
fn score_reads_what_the_other_programs_read() {
    let folder = folder(&["13/bom.jsonl", "13/extra_key.jsonl"]);
    folder.write("plain.jsonl", "{\"text\": \"hello\"}\n");
    folder.write("keys.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    folder.write("array.json", "[\n {\n  \"id\": NaN,\n  \"text\": \"hello\"\n }\n]\n");
    folder.write("tokens.jsonl", "{\"tokens\": [1.0, 2], \"source\": [1e30]}\n");
    let score =
        |file: &str| perplexity(&folder.good("score", &format!("--model model --input {file}")));
    equal("files/13", "a byte-order mark is skipped", score("plain.jsonl"), score("bom.jsonl"));
    equal("files/13", "an id is ignored", score("keys.jsonl"), score("extra_key.jsonl"));
    equal("own: array", "score reads an array", score("plain.jsonl"), score("array.json"));
    assert!(score("tokens.jsonl").is_finite());
    folder.write("both.jsonl", "{\"text\": \"a\", \"prompt\": \"a\", \"completion\": \"b\"}\n");
    let said = folder.refused("score", "--model model --input both.jsonl");
    names("own: text and prompt", "which of them is unclear", &["line 1", "more than one"], &said);
}

#[test]
fn packed_files_arrays_and_nan_are_the_same_pairs() {
    let read = |file: &str| {
        let folder = folder(&[&format!("14/{file}")]);
        folder.good("dpo", &format!("{DPO} {file}"));
        sums(&folder)
    };
    let plain = Sandbox::new();
    plain.put("00_base", "model");
    let pair = |prompt: &str, a: &str, b: &str| {
        format!("{{\"prompt\": \"{prompt}\", \"chosen\": \"{a}\", \"rejected\": \"{b}\"}}\n")
    };
    plain.write("plain.jsonl", &(pair("Say one.", "one", "two") + &pair("Say six.", "six", "ten")));
    plain.good("dpo", &format!("{DPO} plain.jsonl"));
    let right = sums(&plain);
    equal("files/14", "an indented array", right.clone(), read("array.json"));
    equal("files/14", "NaN in a margin", right.clone(), read("nan.jsonl"));
    equal("files/14", "gzip", right, read("pairs.jsonl.gz"));
}

#[test]
fn other_files_are_named() {
    let folder = folder(&[]);
    let prompts = "--model model --max-new-tokens 1 --input";
    let files = [
        ("a.jsonl", "prompt,chosen\na,b\n", "CSV"),
        ("b.jsonl", "{\n \"prompt\": \"a\"\n}\n", "over several lines"),
        ("c.parquet", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("d.jsonl", "<!doctype html>\n", "HTML"),
        ("e.zip", "PK\u{3}\u{4}", "zip"),
        ("f.jsonl", "{\"prompt\": NaN}\n", "`prompt`"),
        ("g.jsonl", "{\"prompt\": \"\\ud800\"}\n", "surrogate"),
    ];
    for (file, text, word) in files {
        folder.write(file, text);
        let said = folder.refused("generate", &format!("{prompts} {file}"));
        names("own: kinds of files", word, &[file, word], &said);
    }
    let said = folder.refused("generate", &format!("{prompts} model"));
    names("own: a folder", "given as a file", &["model", "a folder"], &said);
    let said = folder.refused("dpo", &format!("{DPO} -"));
    names("own: -", "a run reads no standard input", &["standard input"], &said);
    folder.write("label.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": NaN}\n");
    let said = folder.refused("kto", "--model model --labels label.jsonl --out out");
    names("own: NaN", "in a label", &["line 1", "`label`", "NaN"], &said);
}

#[test]
fn equal_replies_are_refused_or_left_out() {
    let folder = folder(&["17/hh_identical.jsonl", "17/empty_completion.jsonl"]);
    let said = folder.refused("dpo", &format!("{DPO} hh_identical.jsonl"));
    names("files/17", "equal replies", &["line 2", "same tokens", "--on-bad-row skip"], &said);
    let said = folder.good("dpo", &format!("{DPO} hh_identical.jsonl --on-bad-row skip"));
    names("files/17", "equal replies, skipped", &["1 bad rows", "equal completions"], &said);
    equal("files/17", "data.json: equal", 1.into(), count(&folder, "/skipped/equal"));
    equal("files/17", "data.json: rows", 2.into(), count(&folder, "/rows"));
    names("files/17", "config.toml", &["on_bad_row = \"skip\""], &folder.read("out/config.toml"));
    let said = folder.refused("dpo", &format!("{DPO} empty_completion.jsonl"));
    names("files/17", "an empty reply", &["line 1", "empty", "--on-bad-row skip"], &said);
    let said = folder.refused("dpo", &format!("{DPO} empty_completion.jsonl --on-bad-row skip"));
    names("files/17", "nothing is left", &["nothing is left", "empty"], &said);
}

#[test]
fn rows_that_are_too_long_are_refused_cut_or_left_out() {
    let folder = folder(&["17/toolong.jsonl"]);
    let said = folder.refused("dpo", &format!("{DPO} toolong.jsonl"));
    names("files/17", "too long", &["line 2", "context", "--truncate"], &said);
    for (flags, said, place) in [
        ("--truncate drop", "1 examples were left out", "/dropped"),
        ("--truncate keep-end", "1 examples were cut", "/cut"),
        ("--truncate keep-start", "1 examples were cut", "/cut"),
        ("--on-bad-row skip", "1 bad rows were skipped: too long", "/skipped/too_long"),
    ] {
        let got = folder.good("dpo", &format!("{DPO} toolong.jsonl {flags}"));
        names("files/17", flags, &[said], &got);
        equal("files/17", &format!("data.json: {flags}"), 1.into(), count(&folder, place));
    }
    let prompts = "--model model --max-new-tokens 1 --input toolong.jsonl --out answers.jsonl";
    folder.refused("generate", prompts);
    folder.good("generate", &format!("{prompts} --truncate drop"));
    equal("files/17", "generate: answers", 1, folder.read("answers.jsonl").lines().count());
}

#[test]
fn columns_that_would_go_unread_are_named() {
    let folder = folder(&[]);
    let turns = r#"[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]"#;
    let rows = [
        ("messages", format!(r#"{{"prompt": "R", "messages": {turns}}}"#), "`prompt`"),
        ("input", r#"{"prompt": "R", "input": "more"}"#.into(), "`prompt`"),
        ("context", r#"{"question": "R", "context": "more"}"#.into(), "`question`"),
        ("images", format!(r#"{{"messages": {turns}, "images": ["a.png"]}}"#), "no text"),
    ];
    for (column, row, other) in rows {
        folder.write("rows.jsonl", &row);
        let said =
            folder.refused("generate", "--model model --max-new-tokens 1 --input rows.jsonl");
        let words = ["rows.jsonl, line 1", &format!("column `{column}`"), other];
        names("own: columns", column, &words, &said);
    }
    folder.write("rows.jsonl", r#"{"input": "Q", "chosen": "a", "rejected": "b"}"#);
    let said = folder.refused("dpo", &format!("{DPO} rows.jsonl"));
    names("own: columns", "input as a prompt", &["line 1", "column `input`", "`prompt`"], &said);
    folder.write("rows.jsonl", r#"{"prompt": "Q", "system": "  "}"#);
    folder.good("generate", "--model model --max-new-tokens 1 --input rows.jsonl");
}

#[test]
fn a_conversation_as_a_prompt_is_said_to_end_with_its_first_answer() {
    let folder = folder(&[]);
    folder.put("files/10/tokenizer_config.json", "model/tokenizer_config.json");
    let turn = |(i, said): (usize, &str)| {
        format!(r#"{{"role": "{}", "content": "{said}"}}"#, ["user", "assistant"][i % 2])
    };
    let turns: Vec<String> = ["Q", "A", "R", "B"].into_iter().enumerate().map(turn).collect();
    folder.write("rows.jsonl", &format!("{{\"messages\": [{}]}}\n", turns.join(", ")));
    let said = folder.good("generate", "--model model --max-new-tokens 1 --input rows.jsonl");
    let words = ["1 conversations go on behind their first answer"];
    names("own: a conversation", "given as a prompt", &words, &said);
}
