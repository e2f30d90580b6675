//! The tokenizer wrapper beside the answers of transformers (see `golden/README.md`).

use hydralign_data::{DataError, SpecialTokens, TextTokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokenizers::Tokenizer;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// A folder with the golden `tokenizer.json`, edited, and the given configuration files.
fn folder(edit: impl Fn(&mut Value), files: &[(&str, Value)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut tokenizer = read(golden().join("tokenizer/tokenizer.json"));
    edit(&mut tokenizer);
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, value) in files {
        fs::write(dir.path().join(name), value.to_string()).unwrap();
    }
    dir
}

fn eos_only() -> [(&'static str, Value); 1] {
    [("config.json", json!({"eos_token_id": 2}))]
}

/// The tokenizer puts `<|bos|>` before and `<|eos|>` after a text, as Llama's may.
fn with_template(tokenizer: &mut Value) {
    let special = |id: u32, text: &str| json!({"id": text, "ids": [id], "tokens": [text]});
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|bos|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|eos|>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|bos|>": special(1, "<|bos|>"), "<|eos|>": special(2, "<|eos|>")},
    });
}

#[test]
fn ids_and_texts_match_transformers() {
    let cases = read(golden().join("tokenizer_cases.json"));
    let tokenizer = TextTokenizer::from_dir(golden().join("tokenizer")).unwrap();
    assert_eq!(tokenizer.vocab_size() as u64, cases["vocab"].as_u64().unwrap());
    let special = SpecialTokens { end: 2, eos: vec![2], bos: Some(1), pad: Some(0) };
    assert_eq!(tokenizer.special(), &special);
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let (text, tokens) = (case["text"].as_str().unwrap(), ids(&case["ids"]));
        assert_eq!(tokenizer.encode(text, false).unwrap(), tokens, "{text:?}");
        // This tokenizer adds nothing to a text.
        assert_eq!(tokenizer.encode(text, true).unwrap(), tokens, "{text:?}");
        assert_eq!(tokenizer.decode(&tokens, false).unwrap(), case["decoded"], "{text:?}");
        assert_eq!(tokenizer.decode(&tokens, true).unwrap(), case["decoded_skip"], "{text:?}");
    }
}

#[test]
fn one_bos_comes_first_and_the_eos_of_the_template_is_left_out() {
    let dir = folder(with_template, &eos_only());
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    let bare = tokenizer.encode("free copy", false).unwrap();
    assert!(!bare.contains(&1));
    let begun = [vec![1], bare].concat();
    assert_eq!(tokenizer.encode("free copy", true).unwrap(), begun);
    assert_eq!(tokenizer.encode("<|bos|>free copy", true).unwrap(), begun);
    assert_eq!(tokenizer.encode("<|bos|>free copy", false).unwrap(), begun);
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
}

#[test]
fn padding_and_truncation_of_the_file_are_off() {
    // transformers writes such a block into a checkpoint after one padded batch.
    let dir = folder(
        |t| {
            t["padding"] = json!({"strategy": {"Fixed": 16}, "direction": "Left", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"});
            t["truncation"] = json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
        },
        &eos_only(),
    );
    let plain = TextTokenizer::from_dir(golden().join("tokenizer")).unwrap();
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    for text in ["a", "Permission is hereby granted, free of charge"] {
        assert_eq!(tokenizer.encode(text, true).unwrap(), plain.encode(text, true).unwrap());
    }
}

#[test]
fn holes_in_the_ids_count_towards_the_vocabulary() {
    let added = json!({"id": 500, "content": "<|far|>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true});
    let with_hole = |t: &mut Value| {
        t["model"]["vocab"]["<|far|>"] = json!(500);
        t["added_tokens"].as_array_mut().unwrap().push(added.clone());
    };
    let tokenizer = TextTokenizer::from_dir(folder(with_hole, &eos_only()).path()).unwrap();
    assert_eq!(tokenizer.token_to_id("<|far|>"), Some(500));
    assert_eq!(tokenizer.vocab_size(), 501);
    // 450 is a row of the embedding without a token.
    assert_eq!(tokenizer.decode(&[450, 500], false).unwrap(), "<|far|>");
}

#[test]
fn what_is_wrong_with_a_folder_is_said_with_the_file() {
    let message = |dir: &TempDir| {
        let text = TextTokenizer::from_dir(dir.path()).unwrap_err().to_string();
        let path = dir.path().display().to_string();
        text.strip_prefix(&path).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let empty = tempfile::tempdir().unwrap();
    assert!(message(&empty).starts_with(": no tokenizer.json; "));
    fs::write(empty.path().join("tokenizer.json"), "{\"version\": 1").unwrap();
    assert!(message(&empty).starts_with("/tokenizer.json: not a tokenizer: "));

    let with = |name: &'static str, value: Value| message(&folder(|_| (), &[(name, value)]));
    assert_eq!(with("other.json", json!({})), ": no configuration file names an EOS token");
    assert_eq!(with("config.json", json!([1])), "/config.json: expected an object, found an array");
    assert_eq!(
        with("config.json", json!({"eos_token_id": "2"})),
        "/config.json: `eos_token_id` is a string, which is not a token"
    );
    assert_eq!(
        with("tokenizer_config.json", json!({"eos_token": "</s>"})),
        "/tokenizer_config.json: `eos_token` is `</s>`, which the tokenizer does not have"
    );
    assert_eq!(
        with("tokenizer_config.json", json!({"eos_token": 2})),
        "/tokenizer_config.json: `eos_token` is a number, which is not a token"
    );
    let broken = folder(|_| (), &[]);
    fs::write(broken.path().join("config.json"), "{,").unwrap();
    assert_eq!(message(&broken), "/config.json: key must be a string at line 1 column 2");
}

#[test]
fn special_tokens_must_exist() {
    let inner = Tokenizer::from_file(golden().join("tokenizer/tokenizer.json")).unwrap();
    let with = |eos: &[u32], pad| {
        let special = SpecialTokens { end: 2, eos: eos.to_vec(), bos: None, pad };
        TextTokenizer::new(inner.clone(), special)
    };
    assert!(with(&[2, 500], Some(0)).is_ok());
    assert!(matches!(with(&[], None), Err(DataError::MissingEos)));
    assert!(matches!(with(&[2], Some(384)), Err(DataError::SpecialOutOfRange { id: 384 })));
}

proptest! {
    #[test]
    fn any_text_survives_the_round_trip(text in "\\PC{0,40}") {
        let tokenizer = TextTokenizer::from_dir(golden().join("tokenizer")).unwrap();
        let tokens = tokenizer.encode(&text, true).unwrap();
        prop_assert_eq!(tokenizer.decode(&tokens, false).unwrap(), text);
    }
}

#[test]
fn a_fingerprint_tells_how_texts_become_tokens_and_nothing_else() {
    let of = |edit: &dyn Fn(&mut Value), files: &[(&str, Value)]| {
        let dir = folder(edit, files);
        TextTokenizer::from_dir(dir.path()).unwrap().fingerprint().unwrap()
    };
    let base = of(&|_| (), &eos_only());
    let same: [&dyn Fn(&mut Value); 3] = [
        &|t| t["version"] = "1.0".into(),
        &|t| {
            t["truncation"] = json!({"direction": "Right", "max_length": 3,
                                      "strategy": "LongestFirst", "stride": 0})
        },
        &|t| {
            // The other way to write merges, in the other order of keys.
            let merges = t["model"]["merges"].as_array().unwrap();
            let written = |m: &Value| match m {
                Value::Array(pair) => {
                    format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()).into()
                }
                text => text.clone(),
            };
            let merges: Vec<Value> = merges.iter().map(written).collect();
            t["model"]["merges"] = merges.into();
            let vocab = t["model"].as_object_mut().unwrap().remove("vocab").unwrap();
            let backwards: serde_json::Map<String, Value> =
                vocab.as_object().unwrap().clone().into_iter().rev().collect();
            t["model"]["vocab"] = backwards.into();
        },
    ];
    for (i, edit) in same.into_iter().enumerate() {
        assert_eq!(of(edit, &eos_only()), base, "edit {i}");
    }
    assert_eq!(of(&|_| (), &[("config.json", json!({"eos_token_id": 1}))]), base);
    let other: [&dyn Fn(&mut Value); 5] = [
        &with_template,
        &|t| t["normalizer"] = json!({"type": "Lowercase"}),
        &|t| {
            t["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": true,
                                         "trim_offsets": false, "use_regex": true})
        },
        &|t| t["added_tokens"][0]["special"] = false.into(),
        &|t| {
            let vocab = t["model"]["vocab"].as_object_mut().unwrap();
            let (a, b) = (vocab["a"].clone(), vocab["b"].clone());
            (vocab["a"], vocab["b"]) = (b, a);
        },
    ];
    for (i, edit) in other.into_iter().enumerate() {
        assert_ne!(of(edit, &eos_only()), base, "edit {i}");
    }
}

/// A sentence's first space is lost where the tokens are decoded alone.
#[test]
fn text_behind_other_text_keeps_its_first_space() {
    let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                        "split": true});
    let file = json!({
        "version": "1.0",
        "added_tokens": [{"id": 2, "content": "</s>", "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": spaces, "decoder": spaces,
        "model": {"type": "WordLevel", "unk_token": "?",
                  "vocab": {"▁Capital:": 0, "▁Paris": 1, "</s>": 2, "?": 3}},
    });
    let special = SpecialTokens { end: 2, eos: vec![2], bos: None, pad: None };
    let inner = Tokenizer::from_bytes(file.to_string()).unwrap();
    let tokenizer = TextTokenizer::new(inner, special).unwrap();
    assert_eq!(tokenizer.encode("Capital: Paris", false).unwrap(), [0, 1]);
    assert_eq!(tokenizer.decode(&[1], true).unwrap(), "Paris");
    assert_eq!(tokenizer.decode_after(&[0], &[1, 2]).unwrap(), " Paris");
    assert_eq!(tokenizer.decode_after(&[2, 0], &[1]).unwrap(), " Paris");
    assert_eq!(tokenizer.decode_after(&[0], &[]).unwrap(), "");
    assert!(tokenizer.is_special(2) && !tokenizer.is_special(1) && !tokenizer.is_special(9));
}
