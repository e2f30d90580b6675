//! Model folders and adapters.

use crate::sandbox::{Sandbox, perplexity};
use crate::table::{close, equal, names};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

const SCORE_BASE: &str = "--model base --input 02/tokens.jsonl";
/// Of the base model on these tokens.
const BASE: f64 = 1579.5658;
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

fn base() -> Sandbox {
    let folder = Sandbox::new();
    folder.put("00_base", "base").put("files/02", "02");
    folder
}

/// A tensor as rows of numbers.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Changes the tensors of the base model.
fn reweigh(folder: &Sandbox, change: impl FnOnce(&mut Tensors)) {
    reweigh_file(folder, "base/model.safetensors", change);
}

/// Changes the tensors of a file.
fn reweigh_file(folder: &Sandbox, name: &str, change: impl FnOnce(&mut Tensors)) {
    let path = folder.path().join(name);
    let bytes = fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let mut tensors: Tensors = read
        .iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F32);
            let numbers = view.data().chunks_exact(4).map(number).collect();
            (name.to_owned(), (view.shape().to_vec(), numbers))
        })
        .collect();
    change(&mut tensors);
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, v))| (&**name, v.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[&**name]).unwrap();
        (name.as_str(), view)
    });
    serialize_to_file(views, None, &path).unwrap();
}

/// Changes a JSON file.
fn edit(folder: &Sandbox, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&folder.read(name)).unwrap();
    change(&mut value);
    folder.write(name, &value.to_string());
}

fn rename(folder: &Sandbox, from: &str, to: &str) {
    fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
}

#[test]
fn files_02_adapters_that_are_not_plain() {
    let folder = base();
    let args = |adapter: &str| format!("{SCORE_BASE} --adapter 02/{adapter}");
    let said = folder.good("score", &args("a_plain"));
    close("files/02", "a plain adapter: perplexity", 876.1618, perplexity(&said), 1e-3);
    for (adapter, start) in [("a_pissa", "pissa"), ("a_olora", "olora")] {
        let said = folder.refused("score", &args(adapter));
        names("files/02", adapter, &["adapter_config.json", "init_lora_weights", start], &said);
    }
    let config = "02/a_plain/adapter_config.json";
    let plain = folder.read(config);
    for (field, value) in [
        ("bias", json!("all")),
        ("use_dora", json!(true)),
        ("layer_replication", json!([[0, 2], [1, 2]])),
        ("from_a_later_version", json!({"strength": 2})),
        ("peft_type", json!("IA3")),
    ] {
        folder.write(config, &plain);
        edit(&folder, config, |c| c[field] = value);
        names(
            "own: adapter field",
            field,
            &[config, field],
            &folder.refused("score", &args("a_plain")),
        );
    }
    folder.write(config, &plain.replacen('{', "{\"lora_dropout_seed\": null, \"loftq_config\": {}, \"eva_config\": {\"rho\": Infinity},", 1));
    let said = folder.good("score", &args("a_plain"));
    close("own: adapter field", "fields that say nothing", 876.1618, perplexity(&said), 1e-3);
}

#[test]
fn files_06_an_old_index_beside_a_whole_file() {
    let folder = base();
    folder.put("files/06/model.safetensors.index.json", "base/model.safetensors.index.json");
    let said = folder.good("score", SCORE_BASE);
    close("files/06", "the whole file is read", BASE, perplexity(&said), 1e-3);
    // With the old shards still there, of other numbers.
    let index: Value =
        serde_json::from_str(&folder.read("base/model.safetensors.index.json")).unwrap();
    let whole = fs::read(folder.path().join("base/model.safetensors")).unwrap();
    for shard in index["weight_map"].as_object().unwrap().values() {
        fs::write(folder.path().join("base").join(shard.as_str().unwrap()), &whole).unwrap();
    }
    reweigh(&folder, |t| t.get_mut(HEAD).unwrap().1.fill(0.0));
    let said = folder.good("score", SCORE_BASE);
    close("own: old shards", "a head of zeros is uniform over 272", 272.0, perplexity(&said), 1e-2);
}

#[test]
fn heads_that_are_tied_or_not() {
    let golden: Value = serde_json::from_str(include_str!("inputs/heads/heads.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let folder = base();
        edit(&folder, "base/config.json", |c| match &case["tied"] {
            Value::Null => drop(c.as_object_mut().unwrap().remove("tie_word_embeddings")),
            tied => c["tie_word_embeddings"] = tied.clone(),
        });
        let head = case["head"].as_str().unwrap();
        reweigh(&folder, |t| {
            let (shape, embedding) = t[EMBEDDING].clone();
            match head {
                "other" => {
                    let numbers = embedding.iter().map(|x| x * 2.0 + 1.0).collect();
                    t.insert(HEAD.into(), (shape, numbers));
                }
                "same" => drop(t.insert(HEAD.into(), (shape, embedding))),
                "alone" => {
                    t.insert(HEAD.into(), (shape, embedding));
                    t.remove(EMBEDDING);
                }
                "none" => drop(t.remove(HEAD)),
                _ => {}
            }
        });
        let situation = format!("tied {}, head {head}", case["tied"]);
        match case["perplexity"].as_f64() {
            Some(expected) => {
                let got = perplexity(&folder.good("score", SCORE_BASE));
                close("own: tied head", &situation, expected, got, expected * 1e-3);
            }
            None => names(
                "own: tied head",
                &situation,
                &["missing"],
                &folder.refused("score", SCORE_BASE),
            ),
        }
    }
}

#[test]
fn files_19_what_is_there_is_named() {
    let adapter = format!("{SCORE_BASE} --adapter 02/a_plain");
    for (tensor, words) in [
        ("value_head.weight", ["value_head.weight", "value head", HEAD]),
        ("v_head.summary.weight", ["v_head.summary.weight", "TRL", HEAD]),
        ("classifier.weight", ["classifier.weight", "classifier", HEAD]),
    ] {
        let folder = base();
        reweigh(&folder, |t| {
            t.remove(HEAD);
            t.insert(tensor.into(), (vec![1, 32], vec![1.0; 32]));
        });
        names("files/19", tensor, &words, &folder.refused("score", SCORE_BASE));
    }
    let folder = base();
    rename(&folder, "02/a_plain/adapter_model.safetensors", "02/a_plain/adapter_model.bin");
    names(
        "files/19",
        "a pickled adapter",
        &["adapter_model.bin", "pickled"],
        &folder.refused("score", &adapter),
    );
    for (file, words) in [
        ("pytorch_model.bin", ["pytorch_model.bin", "pickled"]),
        ("model.fp16.safetensors", ["model.fp16.safetensors", "rename"]),
        ("consolidated.safetensors", ["consolidated.safetensors", "rename"]),
        ("model.Q4_K_M.gguf", ["model.Q4_K_M.gguf", "GGUF"]),
    ] {
        let folder = base();
        rename(&folder, "base/model.safetensors", &format!("base/{file}"));
        names("own: other weights", file, &words, &folder.refused("score", SCORE_BASE));
    }
}

#[test]
fn places_that_hold_something_else() {
    let folder = base();
    let refused = |args: &str| folder.refused("score", args);
    let said = refused("--model 02/a_plain --input 02/tokens.jsonl");
    names("own: an adapter as a model", "refused", &["a_plain", "adapter", "base"], &said);
    let said = refused(&format!("{SCORE_BASE} --adapter base"));
    names("own: a model as an adapter", "refused", &["base", "is a model"], &said);
    let said = refused("--model base/model.safetensors --input 02/tokens.jsonl");
    names("own: a file as a model", "refused", &["model.safetensors", "folder"], &said);
    folder.put("files/02/a_plain", "base");
    let said = refused(SCORE_BASE);
    names("own: an adapter inside a model", "refused", &["base", "adapter_config.json"], &said);
}

#[test]
fn pointers_to_large_files_are_named() {
    const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Hi"}]}"#;
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for file in [
        "base/model.safetensors",
        "base/model.safetensors.index.json",
        "base/config.json",
        "base/generation_config.json",
        "base/tokenizer.json",
        "base/tokenizer_config.json",
        "base/chat_template.jinja",
        "02/a_plain/adapter_config.json",
        "02/a_plain/adapter_model.safetensors",
    ] {
        let folder = base();
        folder.write(file, POINTER).write("chat.jsonl", CHAT);
        if file.ends_with("index.json") {
            std::fs::remove_file(folder.path().join("base/model.safetensors")).unwrap();
        }
        let said = match file.ends_with("jinja") {
            true => folder.refused("generate", "--model base --input chat.jsonl"),
            false => folder.refused("score", &format!("{SCORE_BASE} --adapter 02/a_plain")),
        };
        names("own: Git LFS pointer", file, &[file, "git lfs pull"], &said);
    }
}

#[test]
fn whole_matrices_beside_an_adapter_are_named() {
    let folder = base();
    reweigh_file(&folder, "02/a_plain/adapter_model.safetensors", |tensors| {
        let head = (vec![272, 32], vec![0.0; 272 * 32]);
        tensors.insert("base_model.model.lm_head.weight".into(), head);
    });
    let said = folder.refused("score", &format!("{SCORE_BASE} --adapter 02/a_plain"));
    let words = ["lm_head.weight", "modules_to_save"];
    names("own: a head beside an adapter", "refused", &words, &said);
}

#[test]
fn settings_that_change_the_model() {
    let folder = base();
    let table = "--config base --methods ppo --prompt 64 --response 64";
    let plain = folder.read("base/config.json");
    let yarn = json!({"type": "yarn", "factor": 4.0});
    let default = json!({"rope_type": "default", "rope_theta": 10000.0});
    for (situation, key, changes) in [
        ("yarn beside default", "yarn", json!({"rope_scaling": yarn, "rope_parameters": default})),
        (
            "quantised",
            "quantization_config",
            json!({"quantization_config": {"load_in_4bit": true}}),
        ),
        ("not causal", "is_causal", json!({"is_causal": false})),
        ("null", "tie_word_embeddings", json!({"tie_word_embeddings": null})),
        ("a fraction", "max_position_embeddings", json!({"max_position_embeddings": 512.0})),
    ] {
        folder.write("base/config.json", &plain);
        edit(&folder, "base/config.json", |c| {
            c.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        });
        let words = ["config.json", key];
        names("own: config.json", situation, &words, &folder.refused("score", SCORE_BASE));
        let said = folder.refused("memory_table", table);
        names("own: config.json", &format!("{situation}: memory_table"), &words, &said);
    }
    // Keys that change nothing, with numbers as Python writes them.
    folder.write("base/config.json", &plain);
    let expected = folder.good("memory_table", table);
    let extra = "{\"model_max_length\": 1e30, \"unsloth_version\": \"2025.1\", \"note\": NaN, \
                 \"torch_dtype\": null,";
    let odd = plain
        .replacen('{', extra, 1)
        .replace("\"torch_dtype\": \"float32\"", "\"note2\": -Infinity");
    assert!(odd.contains("-Infinity"), "{odd}");
    folder.write("base/config.json", &odd);
    let got = folder.good("memory_table", table);
    equal("own: config.json", "keys that change nothing", expected, got);
    folder.write("base/config.json", &plain.replace("1e-05", "NaN").replace("1e-5", "NaN"));
    names(
        "own: config.json",
        "a number that is not one",
        &["config.json", "rms_norm_eps", "NaN"],
        &folder.refused("memory_table", table),
    );
}
