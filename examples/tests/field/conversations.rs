//! Conversations, turns and completions.

use crate::sandbox::Sandbox;
use crate::table::{close, equal, names};
use serde_json::Value;
use std::fs;

/// The sums of the reference's log-probabilities that a run of `dpo` left.
pub(crate) fn sums(folder: &Sandbox) -> Vec<f64> {
    let dir = fs::read_dir(folder.path().join("references")).unwrap();
    let file =
        dir.map(|entry| entry.unwrap().path()).find(|p| p.extension() == Some("json".as_ref()));
    let text = fs::read_to_string(file.expect("reference log-probabilities")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    numbers(&value).expect("sums")
}

/// The first list of numbers in a value.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Array(items) => items.iter().map(Value::as_f64).collect(),
        Value::Object(fields) => fields.values().find_map(numbers),
        _ => None,
    }
}

/// What `dpo` reads of pairs: the sums of chosen and rejected.
fn pair_sums(model: &str, from: &str, config: Option<&str>) -> Vec<f64> {
    let folder = Sandbox::new();
    folder.put(model, "model").put(from, "pairs.jsonl");
    if let Some(config) = config {
        folder.put(config, "model/tokenizer_config.json");
    }
    folder.good("dpo", "--model model --preferences pairs.jsonl --max-new-tokens 4 --out out");
    sums(&folder)
}

#[test]
fn a_text_beside_the_assistants_turn_is_the_users() {
    let got = pair_sums("00_base", "files/01/pairs.jsonl", None);
    close("files/01", "a text beside the assistant's turn: chosen", -65.50393, got[0], 1e-3);
    close("files/01", "a text beside the assistant's turn: rejected", -73.45435, got[1], 1e-3);
}

#[test]
fn a_repeated_list_is_the_prompt_once() {
    // transformers' sums of the prompt once and the answer.
    let got = pair_sums("00_legacy", "files/07/pairs.jsonl", None);
    close("files/07", "a prompt that both repeat: chosen", -18.25244, got[0], 1e-3);
    close("files/07", "a prompt that both repeat: rejected", -17.49861, got[1], 1e-3);
}

#[test]
fn speakers_of_sharegpt_have_roles() {
    let folder = Sandbox::new();
    folder.put("00_base", "model");
    for file in ["pairs", "call_answer", "other_names"] {
        folder.put(&format!("files/08/{file}.jsonl"), &format!("{file}.jsonl"));
    }
    let args = |file: &str| {
        format!("--model model --input {file}.jsonl --max-new-tokens 1 --out {file}.out")
    };
    let prompt = |file: &str| {
        folder.good("generate", &args(file));
        let line: Value =
            serde_json::from_str(folder.read(&format!("{file}.out")).lines().next().unwrap())
                .unwrap();
        line["prompt"].as_str().unwrap().to_owned()
    };
    let turns = |turns: &[&str]| -> String {
        let text = |t: &&str| format!("<|im_start|>{t}<|im_end|>\n");
        turns.iter().map(text).collect::<String>() + "<|im_start|>assistant\n"
    };
    let asked = "user\nWhat is 20% off 200?";
    let called = "assistant\n{\"name\": \"off\"}";
    let right = turns(&[asked, called, "tool\n{\"price\": 160}"]);
    equal("files/08", "a call and what was observed", right, prompt("pairs"));
    equal("files/08", "a call as the answer", turns(&[asked]), prompt("call_answer"));
    let right = turns(&["system\nBe short.", "user\nHi", "assistant\nHello", "user\nName a tree"]);
    equal("files/08", "other names of the same roles", right, prompt("other_names"));
    for file in ["call_answer", "other_names"] {
        folder.good(
            "dpo",
            &format!("--model model --preferences {file}.jsonl --max-new-tokens 4 --out {file}"),
        );
    }
    folder.write("who.jsonl", r#"{"prompt": [{"from": "narrator", "value": "Once"}]}"#);
    let said = folder.refused("generate", &args("who"));
    names("own: unknown speaker", "is refused by name", &["who.jsonl, line 1", "narrator"], &said);
}

#[test]
fn an_answer_without_text_ends_with_its_marker() {
    let config = Some("files/10/tokenizer_config.json");
    let got = pair_sums("00_base", "files/10/pairs.jsonl", config);
    close("files/10", "a tool call without text", -470.19242, got[0], 1e-3);
    let got = pair_sums("00_base", "files/10/hh.jsonl", config);
    close("files/10", "an empty reply of a transcript", -6.63761, got[1], 1e-3);
}

/// The first loss of supervised fine-tuning on demonstrations.
fn first_nll(demonstrations: &str) -> f64 {
    let folder = Sandbox::new();
    folder.put_shipped("chat").put("runs/12", ".").put("files/18", "18");
    fs::copy(
        folder.path().join("chat_template.jinja"),
        folder.path().join("chat/chat_template.jinja"),
    )
    .unwrap();
    let args = "--config c.toml --model chat --prompts prompts.jsonl --preferences pref.jsonl";
    folder.good("hydra_rlhf", &format!("{args} --demonstrations {demonstrations} --out out"));
    let line = folder.read("out/metrics.jsonl");
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    find(&line, "nll").expect("a likelihood")
}

fn find(value: &Value, key: &str) -> Option<f64> {
    match value {
        Value::Object(fields) => fields
            .get(key)
            .and_then(Value::as_f64)
            .or_else(|| fields.values().find_map(|value| find(value, key))),
        _ => None,
    }
}

#[test]
fn of_several_turns_the_assistants_are_learnt() {
    close("runs/12", "a completion of several turns", 1.1833, first_nll("pc_multi.jsonl"), 1e-4);
}

#[test]
fn conversations_and_instructions_are_demonstrations() {
    close("runs/12", "a file of messages", 1.1833, first_nll("messages.jsonl"), 1e-4);
    let one = first_nll("18/messages.jsonl");
    close(
        "files/18",
        "instruction and output, as messages",
        one,
        first_nll("18/alpaca.jsonl"),
        1e-5,
    );
    let folder = Sandbox::new();
    folder.put("00_base", "model").put("files/18", ".");
    for file in ["messages.jsonl", "alpaca.jsonl"] {
        let args = format!("--model model --input {file} --max-new-tokens 1 --out {file}.out");
        folder.good("generate", &args);
        let line = folder.read(&format!("{file}.out"));
        let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        let right = "<|im_start|>user\nName a tree<|im_end|>\n<|im_start|>assistant\n";
        equal("files/18", &format!("{file}: the prompt"), right, line["prompt"].as_str().unwrap());
    }
}

#[test]
fn an_answer_has_the_tokens_of_the_whole_text() {
    let folder = Sandbox::new();
    folder.put("00_legacy", "model");
    folder.write("pair.jsonl", r#"{"prompt": "hi the", "completion": " Paris an"}"#);
    folder.write("text.jsonl", r#"{"text": "hi the Paris an"}"#);
    let tokens = |file: &str| {
        folder.good("score", &format!("--model model --input {file} --out out.jsonl --overwrite"));
        let line: Value = serde_json::from_str(&folder.read("out.jsonl")).unwrap();
        line["tokens"].clone()
    };
    let situation = "no space of its own before an answer under a legacy tokenizer";
    equal("own: legacy border", situation, tokens("text.jsonl"), tokens("pair.jsonl"));
    folder.write("m.jsonl", r#"{"prompt": "hi", "chosen": " a", "rejected": " b", "margin": 1}"#);
    let said = folder.good("dpo", "--model model --preferences m.jsonl --max-new-tokens 4 --out d");
    names(
        "own: margin",
        "is said to be unused",
        &["m.jsonl: 1 preferences have a `margin`"],
        &said,
    );
}

/// A template that writes role and content, of which the shipped model's folder has none.
const PLAIN: &str = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}{{- m.content }}\
                     {{- '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}\
                     {{- '<|im_start|>assistant\n' }}{%- endif %}";

fn with_plain_template() -> Sandbox {
    let folder = Sandbox::new();
    folder.put("00_base", "model").write("model/chat_template.jinja", PLAIN);
    folder
}

#[test]
fn what_the_template_does_not_write_is_refused() {
    let folder = with_plain_template();
    folder.put("files/10/pairs.jsonl", "pairs.jsonl");
    let dpo = "--model model --max-new-tokens 4 --out out --preferences";
    let said = folder.refused("dpo", &format!("{dpo} pairs.jsonl"));
    let words = ["pairs.jsonl, line 1", "`chosen`", "`tool_calls` of turn 2"];
    names("files/10", "a tool call that the template does not write", &words, &said);
    let thought = r#"{"role": "assistant", "content": "Ho", "reasoning_content": "Hm."}"#;
    let other = thought.replace("Hm", "Ah");
    let asked = r#"{"role": "user", "content": "Hi"}"#;
    let row = format!(r#"{{"prompt": [{asked}], "chosen": [{thought}], "rejected": [{other}]}}"#);
    folder.write("thought.jsonl", &row);
    let said = folder.refused("dpo", &format!("{dpo} thought.jsonl"));
    let words = ["thought.jsonl, line 1", "`chosen`", "`reasoning_content` of turn 2"];
    names("own: thoughts", "that the template does not write", &words, &said);
}

#[test]
fn contents_that_are_lists() {
    let folder = with_plain_template();
    let prompt = |name: &str, content: &str| {
        let turn = format!("{{\"role\": \"user\", \"content\": {content}}}");
        folder.write(&format!("{name}.jsonl"), &format!("{{\"messages\": [{turn}]}}\n"));
        format!("--model model --max-new-tokens 1 --input {name}.jsonl --out {name}.out")
    };
    let parts = prompt(
        "parts",
        r#"[{"type": "text", "text": "What's"}, {"type": "text", "text": " up?"}]"#,
    );
    folder.good("generate", &parts);
    let line: Value = serde_json::from_str(folder.read("parts.out").trim()).unwrap();
    let right = "<|im_start|>user\nWhat's up?<|im_end|>\n<|im_start|>assistant\n";
    let situation = "texts are joined where the template knows no lists";
    equal("own: a list of texts", situation, right, line["prompt"].as_str().unwrap());
    for (kind, part) in [
        ("image", r#"{"type": "image", "image": "a.png"}"#),
        ("image_url", r#"{"type": "image_url", "image_url": {"url": "a.png"}}"#),
        ("input_audio", r#"{"type": "input_audio", "input_audio": {}}"#),
        ("video", r#"{"type": "video"}"#),
    ] {
        let said = folder.refused("generate", &prompt(kind, &format!("[{part}]")));
        names("own: parts", kind, &[&format!("{kind}.jsonl, line 1"), "turn 1", kind], &said);
    }
}
