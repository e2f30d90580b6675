//! Special tokens and configuration files of tokenizers, beside the answers of transformers.

use hydralign_data::{ChatTemplate, Message, RenderOptions, TextTokenizer};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

const NAMES: [&str; 6] =
    ["bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "image_token"];

/// The folder of a case, with a template that writes the special tokens.
fn folder(case: &Value) -> TempDir {
    let base = match case["base"].as_str().unwrap_or("bytes") {
        "bytes" => "tokenizer",
        "spaces" => "tokenizers/metaspace",
        _ => "tokenizers/wordpiece",
    };
    let mut file = read(golden(base).join("tokenizer.json"));
    if let Some(post) = case.get("post") {
        file["post_processor"] = post.clone();
    }
    file["truncation"] = case["truncation"].clone();
    file["padding"] = case["padding"].clone();
    if case["space"] == true {
        file["pre_tokenizer"]["add_prefix_space"] = true.into();
    }
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("tokenizer.json", Some(&file)),
        ("tokenizer_config.json", case.get("config")),
        ("special_tokens_map.json", case.get("map")),
        ("added_tokens.json", case.get("added")),
        ("config.json", case.get("model")),
    ];
    for (name, value) in files {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            fs::write(dir.path().join(name), value.to_string()).unwrap();
        }
    }
    let written: Vec<String> = NAMES.iter().map(|name| format!("{{{{ {name} }}}}")).collect();
    fs::write(dir.path().join("chat_template.jinja"), written.join("|")).unwrap();
    dir
}

#[test]
fn folders_are_read_as_transformers_reads_them() {
    let file = read(golden("special/cases.json"));
    let texts = file["texts"].as_array().unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() > 90);
    for case in cases {
        let (answer, dir) = (&case["answer"], folder(case));
        let shown = format!("{} {} {}", case["name"], case["config"], case["model"]);
        let tokenizer =
            TextTokenizer::from_dir(dir.path()).unwrap_or_else(|e| panic!("{shown}: {e}"));
        for (text, expected) in texts.iter().zip(answer["texts"].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let ids =
                |key: &str| -> Vec<u32> { serde_json::from_value(expected[key].clone()).unwrap() };
            let (plain, begun) = (ids("ids"), ids("begun"));
            assert_eq!(tokenizer.encode(text, false).unwrap(), plain, "{shown}: {text:?}");
            // What transformers puts before a text, unless it is there; what it puts behind is not.
            let put = begun.windows(plain.len()).position(|w| w == plain).unwrap();
            let prefix = &begun[..put];
            let whole =
                if plain.starts_with(prefix) { plain.clone() } else { [prefix, &plain].concat() };
            assert_eq!(tokenizer.encode(text, true).unwrap(), whole, "{shown}: {text:?}");
            for (skip, key) in [(false, "decoded"), (true, "without")] {
                assert_eq!(tokenizer.decode(&plain, skip).unwrap(), expected[key], "{shown}");
            }
        }
        let special = tokenizer.special();
        assert_eq!(json!(tokenizer.eos_id()), answer["eos"], "{shown}");
        assert_eq!(json!(special.bos), answer["bos"], "{shown}");
        let template = ChatTemplate::from_dir(dir.path()).unwrap().unwrap();
        let rendered =
            template.render(&[Message::new("user", "x")], &RenderOptions::default()).unwrap();
        // A pad that only the padding of the tokenizer file names is not taken from there.
        if case.get("padding").is_none() {
            assert_eq!(json!(special.pad), answer["pad"], "{shown}");
            let named = NAMES.map(|name| answer["named"][name].as_str().unwrap_or_default());
            assert_eq!(rendered, named.join("|"), "{shown}");
        }
    }
}

fn refusal(case: &Value) -> String {
    TextTokenizer::from_dir(folder(case).path()).unwrap_err().to_string()
}

#[test]
fn tokens_that_no_file_gives_an_id_are_refused_where_they_are_used() {
    let eos = refusal(&json!({"config": {"eos_token": "</s>"}}));
    assert!(eos.ends_with("`eos_token` is `</s>`, which the tokenizer does not have"), "{eos}");
    let bos =
        json!({"config": {"eos_token": "<|eos|>", "bos_token": "<s>", "add_bos_token": true}});
    let bos = refusal(&bos);
    assert!(bos.ends_with("`bos_token` is `<s>`, which the tokenizer does not have"), "{bos}");
    // 384 is the next id; a model trained with 390 would read another row.
    let token = json!({"content": "<new>", "special": true});
    let moved = json!({"config": {"eos_token": "<new>", "added_tokens_decoder": {"390": token}}});
    let moved = refusal(&moved);
    assert!(moved.contains("give id 390 and the tokenizer 384"), "{moved}");
}

#[test]
fn settings_that_cannot_be_followed_are_named() {
    let with = |key: &str, value: Value| {
        let mut config = json!({"eos_token": "<|eos|>"});
        config[key] = value;
        refusal(&json!({"config": config}))
    };
    for (key, value, fault) in [
        ("add_bos_token", json!("true"), "a string, not a boolean"),
        ("add_eos_token", json!(1), "a number, not a boolean"),
        ("split_special_tokens", json!([]), "an array, not a boolean"),
        ("fix_mistral_regex", json!(true), "true, which this reader cannot follow"),
        ("tokenizer_class", json!(3), "a number, not a name"),
        ("added_tokens_decoder", json!([1]), "not an object"),
        ("extra_special_tokens", json!(1), "neither a list nor an object"),
    ] {
        let said = with(key, value);
        assert!(said.ends_with(&format!("tokenizer_config.json: `{key}` is {fault}")), "{said}");
    }
    let said = with("pad_token", json!(0));
    assert!(said.ends_with("`pad_token` is a number, which is not a token"), "{said}");
}

#[test]
fn generation_stops_where_generation_config_says() {
    let stops = |config: Value, generation: Option<Value>, tokenizer: Value| {
        let dir = folder(&json!({"config": tokenizer, "model": config}));
        if let Some(generation) = generation {
            fs::write(dir.path().join("generation_config.json"), generation.to_string()).unwrap();
        }
        let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
        (tokenizer.eos_ids().to_vec(), tokenizer.eos_id())
    };
    let named = json!({"eos_token": "<|im_end|>"});
    let id = |id: Value| json!({ "eos_token_id": id });
    // As `model.generate` of transformers stops.
    let same = |config, generation| stops(config, generation, named.clone());
    assert_eq!(same(id(json!(94)), Some(id(json!([3])))), (vec![3], 4));
    assert_eq!(same(id(json!(94)), Some(id(json!([94, 3, 94])))), (vec![94, 3], 4));
    assert_eq!(same(id(json!([94, 3])), None), (vec![94, 3], 4));
    assert_eq!(same(id(json!(94)), None), (vec![94], 4));
    // A stop beyond the tokenizer may be a row of the model.
    assert_eq!(same(id(json!(3)), Some(id(json!([500, 94])))), (vec![500, 94], 4));
    // Nothing stops there: the tokenizer's own token does here.
    for generation in [json!({}), id(Value::Null), id(json!(-1)), json!({"temperature": 0.7})] {
        assert_eq!(same(id(json!(94)), Some(generation)), (vec![4], 4));
    }
    assert_eq!(same(id(Value::Null), None), (vec![4], 4));
    // A tokenizer without one ends completions at the first stop.
    assert_eq!(stops(id(json!(94)), Some(id(json!([2, 4]))), json!({})), (vec![2, 4], 2));
    assert_eq!(stops(id(json!(94)), Some(json!({})), json!({})), (vec![94], 94));
}

#[test]
fn files_are_read_as_python_writes_them() {
    let dir = folder(&json!({"config": {"eos_token": "<|eos|>"}}));
    let config = "{\"eos_token\": \"<|eos|>\", \"model_max_length\": Infinity, \"scale\": NaN}";
    fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    fs::write(dir.path().join("generation_config.json"), "{\"top_p\": NaN, \"eos_token_id\": 4}")
        .unwrap();
    assert_eq!(TextTokenizer::from_dir(dir.path()).unwrap().eos_ids(), [4]);
    for (id, fault) in [
        ("NaN", "`eos_token_id` is NaN, which is not a token"),
        ("[1, Infinity]", "`eos_token_id` is inf, which is not a token"),
        ("3.0", "`eos_token_id` is a number, which is not a token"),
    ] {
        let text = format!("{{\"eos_token_id\": {id}}}");
        fs::write(dir.path().join("generation_config.json"), text).unwrap();
        let error = TextTokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(fault), "{error}");
    }
}

#[test]
fn a_folder_without_a_tokenizer_file_says_what_is_there() {
    for (files, found) in [
        (vec!["tokenizer.model"], "no tokenizer.json, but tokenizer.model, which is not read"),
        (vec!["merges.txt", "vocab.json"], "but vocab.json and merges.txt, which is not read"),
        (vec!["vocab.txt"], "but vocab.txt, which is not read"),
        (vec![], "no tokenizer.json; `AutoTokenizer.from_pretrained(folder)"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        let error = TextTokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains(found), "{error}");
        assert!(error.contains("save_pretrained(folder)`"), "{error}");
    }
}
