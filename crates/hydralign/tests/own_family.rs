//! A family of models that the crates do not know, added from outside.

mod common;

use common::{checkpoint, lora};
use hydralign::families::{
    Architecture, Family, FamilyError, Fields, Names, architecture_of, llama_like,
};
use hydralign::models::{SaveOptions, load_adapter, load_checkpoint_of, save_checkpoint};
use hydralign::prelude::*;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// A relative of Llama with other names and a cap of its logits.
struct Acme;

const NAMES: Names = Names {
    prefix: "core.",
    embedding: "tokens",
    final_norm: "end_norm",
    blocks: "stack",
    attention_norm: "norm_1",
    mlp_norm: "norm_2",
    projections: ["mix.q", "mix.k", "mix.v", "mix.o", "ff.gate", "ff.up", "ff.down", ""],
    lm_head: "words",
    ..Names::LLAMA
};

impl Family for Acme {
    fn model_type(&self) -> &'static str {
        "acme"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let logit_softcap = Some(fields.positive("logit_cap")?);
        Ok(Architecture { logit_softcap, ..llama_like(fields)? })
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }
}

/// The header of a safetensors file and what follows it.
fn parts(file: &Path) -> (Map<String, Value>, Vec<u8>) {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, bytes[8 + length..].to_vec())
}

/// A folder of the family: a saved Llama under the other names.
fn write_acme(dir: &Path) {
    save_checkpoint(dir, &checkpoint().trunk, None, &SaveOptions::default()).unwrap();
    let file = dir.join("model.safetensors");
    let (header, tensors) = parts(&file);
    let spellings = [
        ("model.embed_tokens", "core.tokens"),
        ("model.norm", "core.end_norm"),
        ("model.layers", "core.stack"),
        ("input_layernorm", "norm_1"),
        ("post_attention_layernorm", "norm_2"),
        ("self_attn.", "mix."),
        ("mlp.", "ff."),
        ("_proj", ""),
        ("lm_head", "words"),
    ];
    let renamed = |name: String| spellings.iter().fold(name, |n, (from, to)| n.replace(from, to));
    let header: Map<String, Value> = header.into_iter().map(|(n, v)| (renamed(n), v)).collect();
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&file, [&length[..], &header, &tensors].concat()).unwrap();
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (config["model_type"], config["logit_cap"]) = (json!("acme"), json!(0.5));
    fs::write(path, config.to_string()).unwrap();
}

fn logits(model: &Checkpoint) -> Vec<f32> {
    let batch = TokenBatch::whole([vec![2, 9, 4, 7], vec![3, 5]]).unwrap();
    let logits = ModelBank::frozen(model.clone()).all_logits(Role::Actor, &batch).unwrap();
    logits.into_data().iter::<f32>().collect()
}

#[test]
fn a_family_from_outside_is_read_trained_saved_and_read_again() {
    let (dir, device) = (tempfile::tempdir().unwrap(), Device::flex());
    let folder = dir.path().join("acme");
    write_acme(&folder);
    let unknown = load_checkpoint(&folder, &device).unwrap_err().to_string();
    assert!(unknown.contains("acme") && unknown.contains("llama"), "{unknown}");

    let model = load_checkpoint_of(&Acme, &folder, &device).unwrap();
    let capped = |x: &f32| 0.5 * (x / 0.5).tanh();
    let expected: Vec<f32> = logits(&checkpoint()).iter().map(capped).collect();
    let found = logits(&model);
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));

    let again = dir.path().join("again");
    save_checkpoint(&again, &model.trunk, None, &SaveOptions::default()).unwrap();
    let (names, _) = parts(&again.join("model.safetensors"));
    assert!(names.contains_key("core.stack.1.ff.gate.weight"), "{names:?}");
    assert_eq!(logits(&load_checkpoint_of(&Acme, &again, &device).unwrap()), found);

    let placement = Placement::sft().with_adapter("own");
    let bank = ModelBank::new(&placement, &Start::joint(&model), &lora(), 3).unwrap();
    let (adapters, base) = (dir.path().join("adapter"), folder.to_str().unwrap());
    let architecture = model.trunk.architecture();
    save_adapter(&adapters, bank.adapter("own").unwrap(), None, architecture, base).unwrap();
    let (names, _) = parts(&adapters.join("adapter_model.safetensors"));
    assert!(names.keys().any(|n| n.contains("core.stack.0.mix.q.lora_A")), "{names:?}");
    load_adapter(&adapters, architecture, &device).unwrap();
}

#[test]
fn what_is_not_of_the_family_is_refused_by_field() {
    let refused = |config: Value| {
        architecture_of(&Acme, &config, Path::new("config.json")).unwrap_err().to_string()
    };
    let llama = checkpoint().trunk.architecture().config.clone();
    assert!(refused(llama.clone()).contains("`model_type`"));
    let without_cap = json!({"model_type": "acme"});
    let acme = llama.as_object().unwrap().clone().into_iter();
    let acme: Map<String, Value> = acme.chain(without_cap.as_object().unwrap().clone()).collect();
    assert!(refused(acme.into()).contains("`logit_cap`"));
}
