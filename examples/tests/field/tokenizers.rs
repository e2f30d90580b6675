//! Special tokens and tokenizers.

use crate::sandbox::Sandbox;
use crate::table::{equal, names};
use serde_json::Value;

/// The base model with the files of an input over it.
fn model(inputs: &[&str]) -> Sandbox {
    let folder = Sandbox::new();
    folder.put("00_base", "base").put("files/04/text.jsonl", "text.jsonl");
    for input in inputs {
        let name = input.rsplit('/').next().unwrap();
        folder.put(input, if name.contains('.') { name } else { "base" });
    }
    folder
}

/// The tokens that `score` gives `hi the answer`.
fn scored(folder: &Sandbox) -> Vec<u64> {
    folder.good("score", "--model base --input text.jsonl --out out.jsonl --overwrite");
    let line: Value =
        serde_json::from_str(folder.read("out.jsonl").lines().next().unwrap()).unwrap();
    line["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect()
}

/// What greedy generation gives from `hi`.
fn generated(folder: &Sandbox) -> Vec<u64> {
    folder.write("prompts.jsonl", "{\"prompt\": \"hi\"}\n");
    let args = "--model base --input prompts.jsonl --greedy --max-new-tokens 24 --out out.jsonl --overwrite";
    folder.good("generate", args);
    let line: Value =
        serde_json::from_str(folder.read("out.jsonl").lines().next().unwrap()).unwrap();
    line["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect()
}

const TEXT: [u64; 13] = [76, 77, 225, 88, 76, 73, 225, 69, 82, 87, 91, 73, 86];

#[test]
fn files_04_add_bos_token_decides() {
    let begun = [&[4], TEXT.as_slice()].concat();
    equal("files/04", "add_bos_token true", begun, scored(&model(&["files/04/true"])));
    equal("files/04", "add_bos_token false", TEXT.to_vec(), scored(&model(&["files/04/false"])));
}

#[test]
fn files_11_generation_config_says_where_to_stop() {
    let tokens = generated(&model(&["files/11"]));
    equal("files/11", "tokens generated", 24, tokens.len());
    let first = vec![119, 245, 119, 245, 157, 160, 24, 94, 89];
    equal("files/11", "the first of them", first, tokens[..9].to_vec());
    let folder = model(&["files/11"]);
    std::fs::remove_file(folder.path().join("base/generation_config.json")).unwrap();
    let stopped = vec![119, 245, 119, 245, 157, 160, 24, 94];
    equal("own: no generation_config", "config.json decides", stopped, generated(&folder));
}

#[test]
fn files_15_a_pad_token_that_nothing_needs_is_no_reason_to_refuse() {
    let folder = model(&[]);
    folder.put("files/15/config.json", "base/config.json");
    equal("files/15", "pad_token_id beyond the tokenizer", TEXT.to_vec(), scored(&folder));
    let folder = model(&[]);
    folder.put("files/15/tokenizer_config.json", "base/tokenizer_config.json");
    equal("files/15", "[PAD] in added_tokens_decoder", TEXT.to_vec(), scored(&folder));
    folder.write("text.jsonl", "{\"text\": \"hi[PAD]\"}\n");
    equal("files/15", "[PAD] is 261", vec![76, 77, 261], scored(&folder));
}

#[test]
fn own_an_eos_that_no_file_has_is_named() {
    let folder = model(&[]);
    folder.write("base/tokenizer_config.json", "{\"eos_token\": \"<|gone|>\"}");
    let said = folder.refused("score", "--model base --input text.jsonl --out out.jsonl");
    names(
        "own: eos nowhere",
        "refused",
        &["tokenizer_config.json", "eos_token", "<|gone|>"],
        &said,
    );
}

#[test]
fn own_templates_without_a_default_matter_where_one_is_needed() {
    let folder = model(&[]);
    let config = "{\"eos_token\": \"<|im_end|>\", \"chat_template\": [{\"name\": \"rag\", \"template\": \"x\"}]}";
    folder.write("base/tokenizer_config.json", config);
    equal("own: named templates", "a text is scored", TEXT.to_vec(), scored(&folder));
}

#[test]
fn own_a_folder_without_tokenizer_json_says_what_is_there() {
    let folder = model(&[]);
    std::fs::remove_file(folder.path().join("base/tokenizer.json")).unwrap();
    folder.write("base/tokenizer.model", "");
    let said = folder.refused("generate", "--model base --prompt hi");
    names("own: tokenizer.model", "refused", &["tokenizer.model", "save_pretrained"], &said);
}
