//! Chat templates against transformers: texts, tokens, masks and refusals.

use hydralign_data::{ChatError, ChatTemplate, Message, RenderOptions, TextTokenizer};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).unwrap()).unwrap()
}

fn tokenizer() -> TextTokenizer {
    TextTokenizer::from_dir(golden("")).unwrap()
}

fn special() -> Map<String, Value> {
    read("tokenizer_config.json").as_object().unwrap().clone()
}

fn template(name: &str) -> ChatTemplate {
    let source = std::fs::read_to_string(golden("templates").join(format!("{name}.jinja")));
    ChatTemplate::new(&source.unwrap(), special()).unwrap()
}

fn options(settings: &Value, now: &Value) -> RenderOptions {
    let mut options =
        RenderOptions { now: Some(now.as_str().unwrap().parse().unwrap()), ..Default::default() };
    for (key, value) in settings.as_object().unwrap() {
        match key.as_str() {
            "add_generation_prompt" => options.add_generation_prompt = value.as_bool().unwrap(),
            "continue_final_message" => options.continue_final_message = value.as_bool().unwrap(),
            "tools" => options.tools = value.as_array().unwrap().clone(),
            _ => drop(options.variables.insert(key.clone(), value.clone())),
        }
    }
    options
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let (file, tokenizer) = (read("cases.json"), tokenizer());
    let cases = file["cases"].as_array().unwrap();
    let (mut rendered, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let conversation = case["conversation"].as_str().unwrap();
        let messages: Vec<Message> =
            serde_json::from_value(file["conversations"][conversation].clone()).unwrap();
        let settings = &file["settings"][case["settings"].as_u64().unwrap() as usize];
        let label = format!("{name}, {conversation}, {}", case["settings"]);
        let got = template(name).render(&messages, &options(settings, &file["now"]));
        match (got, case["ok"].as_str()) {
            (Ok(text), Some(expected)) if text == expected => {
                let ids: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
                assert_eq!(tokenizer.encode(&text, false).unwrap(), ids, "{label}");
                rendered += 1;
            }
            (Err(error), None) => {
                let raised = match &error {
                    ChatError::Raised { message, .. } => Some(message.as_str()),
                    _ => None,
                };
                if raised != case["error"].as_str() {
                    wrong.push(format!("{label}: {error} instead of {}", case["error"]));
                }
                refused += 1;
            }
            (got, expected) => wrong.push(format!("{label}\n  {got:?}\n  {expected:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(rendered > 600 && refused > 100, "{rendered} {refused}");
}

#[test]
fn generation_blocks_mark_what_the_assistant_said() {
    let (file, tokenizer) = (read("cases.json"), tokenizer());
    let mut compared = 0;
    for case in file["cases"].as_array().unwrap().iter().filter(|c| c.get("assistant").is_some()) {
        let conversation = case["conversation"].as_str().unwrap();
        let messages: Vec<Message> =
            serde_json::from_value(file["conversations"][conversation].clone()).unwrap();
        let settings = &file["settings"][case["settings"].as_u64().unwrap() as usize];
        let options = options(settings, &file["now"]);
        let template = template(case["template"].as_str().unwrap());
        let got = template.encode(&tokenizer, &messages, &options).unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
        assert_eq!(got.tokens, ids);
        let mask: Vec<u8> = got.assistant.iter().map(|&a| u8::from(a)).collect();
        assert_eq!(json!(mask), case["assistant"], "{} {conversation}", case["template"]);
        compared += usize::from(mask.contains(&1));
    }
    assert!(compared > 15, "{compared}");
}

#[test]
fn without_generation_blocks_the_mask_is_what_the_turns_add() {
    let (tokenizer, options) = (tokenizer(), RenderOptions::default());
    let messages = [
        Message::new("user", "2 + 2?"),
        Message::new("assistant", "It is 4"),
        Message::new("user", "Sure?"),
        Message::new("assistant", "Yes </s>"),
    ];
    // The same dialect with and without blocks gives the same mask.
    let marked = template("chatml_generation").encode(&tokenizer, &messages, &options).unwrap();
    let source = std::fs::read_to_string(golden("templates/chatml_generation.jinja")).unwrap();
    let plain = source.replace("{%- generation %}", "").replace("{%- endgeneration %}", "");
    let plain = ChatTemplate::new(&plain, special()).unwrap();
    assert_eq!(plain.encode(&tokenizer, &messages, &options).unwrap(), marked);
    // What is marked is what the assistant said, with the marker that ends its turn.
    for (name, said) in [
        ("qwen25", "It is 4<|im_end|>Yes </s><|im_end|>"),
        ("llama3", "It is 4<|eot_id|>Yes </s><|eot_id|>"),
        ("vicuna", " It is 4</s> Yes </s></s>"),
        ("mistral_v1", "It is 4</s>Yes </s></s>"),
    ] {
        let got = template(name).encode(&tokenizer, &messages, &options).unwrap();
        let learned = got.tokens.iter().zip(&got.assistant).filter(|(_, a)| **a).map(|(t, _)| *t);
        let learned: Vec<u32> = learned.collect();
        assert_eq!(tokenizer.decode(&learned, false).unwrap(), said, "{name}");
    }
}

#[test]
fn a_turn_that_changes_when_others_follow_is_not_marked_wrongly() {
    // Qwen3 drops the thoughts of earlier turns.
    let messages = [
        Message::new("user", "Count"),
        Message::new("assistant", "<think>\nhm\n</think>\n\n1 2 3"),
        Message::new("user", "On"),
        Message::new("assistant", "4 5 6"),
    ];
    let result = template("qwen3").encode(&tokenizer(), &messages, &RenderOptions::default());
    assert!(matches!(result, Err(ChatError::NotPrefixStable { turn: 1, .. })), "{result:?}");
}

#[test]
fn a_rendered_conversation_gets_no_second_bos() {
    // axolotl issue #1616, TRL issue #3750: a template that writes BOS met a tokenizer that adds it.
    let dir = tempfile::tempdir().unwrap();
    let mut json = read("tokenizer.json");
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    });
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    std::fs::copy(golden("tokenizer_config.json"), dir.path().join("tokenizer_config.json"))
        .unwrap();
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(tokenizer.encode("Hi", true).unwrap()[0], 1, "this tokenizer adds BOS");
    let messages = [Message::new("user", "Hi"), Message::new("assistant", "Ho")];
    let options = RenderOptions::default();
    let tokens = template("mistral_v1").encode(&tokenizer, &messages, &options).unwrap().tokens;
    assert_eq!(tokens.iter().filter(|&&t| t == 1).count(), 1, "{tokens:?}");
    let text = template("mistral_v1").render(&messages, &options).unwrap();
    assert_eq!(tokenizer.encode(&text, true).unwrap(), tokens);
}

#[test]
fn templates_come_from_every_place_that_holds_them() {
    let source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let render = |dir: &Path| {
        let template = ChatTemplate::from_dir(dir).unwrap()?;
        Some(template.render(&[Message::new("user", "x")], &RenderOptions::default()).unwrap())
    };
    let tokens = json!({"bos_token": {"content": "<s>", "lstrip": false}});
    let with = |files: &[(&str, String)]| {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    };
    assert_eq!(render(with(&[("tokenizer_config.json", tokens.to_string())]).path()), None);
    let mut inline = tokens.clone();
    inline["chat_template"] = source.into();
    let dir = with(&[("tokenizer_config.json", inline.to_string())]);
    assert_eq!(render(dir.path()).as_deref(), Some("<s>x"));
    inline["chat_template"] =
        json!([{"name": "tool_use", "template": "no"}, {"name": "default", "template": source}]);
    let dir = with(&[("tokenizer_config.json", inline.to_string())]);
    assert_eq!(render(dir.path()).as_deref(), Some("<s>x"));
    // A file of its own comes first.
    let dir = with(&[
        ("tokenizer_config.json", inline.to_string()),
        ("special_tokens_map.json", json!({"bos_token": "<map>"}).to_string()),
        ("chat_template.jinja", format!("!{source}")),
    ]);
    assert_eq!(render(dir.path()).as_deref(), Some("!<map>x"));
    for (name, text) in
        [("tokenizer_config.json", "[]"), ("tokenizer_config.json", "{\"chat_template\": 3}")]
    {
        let dir = with(&[(name, text.to_owned())]);
        let error = ChatTemplate::from_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn of_several_templates_the_one_is_used_that_transformers_uses() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat");
    let read = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path.join(name)).unwrap()).unwrap()
    };
    for case in read("choice.json")["cases"].as_array().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = read("tokenizer_config.json");
        if let Some(template) = case.get("config") {
            config["chat_template"] = template.clone();
        }
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        for (name, text) in case["files"].as_object().into_iter().flatten() {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text.as_str().unwrap()).unwrap();
        }
        let tools = case["tools"].as_array().cloned().unwrap_or_default();
        let options = RenderOptions { tools, ..RenderOptions::default() };
        // Loading does not fail: only a conversation needs a template.
        let template = ChatTemplate::from_dir(dir.path()).unwrap();
        let text = template.map(|t| t.render(&[Message::new("user", "x")], &options));
        match case["answer"].as_str() {
            Some(expected) => assert_eq!(text.unwrap().unwrap(), expected, "{case}"),
            None => assert!(!matches!(text, Some(Ok(_))), "{case}"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let list = json!({"chat_template": [{"name": "rag", "template": ""}, {"name": "tool_use", "template": ""}]});
    std::fs::write(dir.path().join("tokenizer_config.json"), list.to_string()).unwrap();
    let template = ChatTemplate::from_dir(dir.path()).unwrap().unwrap();
    let error = template.render(&[Message::new("user", "x")], &RenderOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("there is `rag`, `tool_use`"), "{error}");
}

/// Jinja reads every line break of a source as `\n`, whatever wrote the file.
#[test]
fn a_template_with_other_line_breaks_renders_the_same() {
    let messages = [Message::new("user", "a\r\nb"), Message::new("assistant", "c")];
    for name in ["qwen25", "chatml_generation", "zephyr"] {
        let path = golden("templates").join(format!("{name}.jinja"));
        let source = std::fs::read_to_string(path).unwrap();
        let render = |source: &str| {
            let template = ChatTemplate::new(source, special()).unwrap();
            template.render(&messages, &RenderOptions::default()).unwrap()
        };
        let expected = render(&source);
        assert!(expected.contains("a\r\nb"), "what is said keeps its own");
        for other in ["\r\n", "\r"] {
            assert_eq!(render(&source.replace('\n', other)), expected, "{name}");
        }
    }
}
