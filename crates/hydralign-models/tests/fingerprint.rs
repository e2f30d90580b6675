//! What a model's fingerprint tells apart: all that its numbers follow from.

mod common;

use burn::tensor::Device;
use common::{golden, load};
use hydralign_models::{load_adapter, load_checkpoint};
use safetensors::tensor::{SafeTensors, serialize_to_file};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A copy of a golden folder with another JSON file.
fn edited(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = copy.path().join(file);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
    copy
}

#[test]
fn equal_weights_of_another_architecture_are_another_model() {
    let name = "families/mistral";
    let of = |change: &dyn Fn(&mut Value)| {
        let copy = edited(name, "config.json", change);
        load_checkpoint(copy.path(), &Device::flex()).unwrap().fingerprint()
    };
    let base = load(name).fingerprint();
    assert_eq!(of(&|_| ()), base);
    type Change = dyn Fn(&mut Value);
    let changes: [(&str, &Change); 4] = [
        ("ε of the norms", &|c| c["rms_norm_eps"] = json!(1e-3)),
        ("sliding window", &|c| c["sliding_window"] = json!(2)),
        ("rotary base", &|c| {
            c["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 500.0});
            c["rope_theta"] = json!(500.0);
        }),
        ("activation", &|c| c["hidden_act"] = json!("gelu")),
    ];
    for (what, change) in changes {
        assert_ne!(of(change), base, "{what}");
    }
}

/// The pair of the values given to the keys, whose map has the same shape.
fn on_keys(dir: &Path) {
    let path = dir.join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.tensors().into_iter().map(|(n, v)| (n.replace("v_proj", "k_proj"), v));
    serialize_to_file(renamed.collect::<Vec<_>>(), None, &path).unwrap();
}

#[test]
fn an_adapter_s_numbers_on_other_projections_are_another_adapter() {
    let base = load("llama");
    let of = |dir: &Path| {
        let mut model = base.clone();
        let architecture = model.trunk.architecture();
        model.adapter = Some(load_adapter(dir, architecture, &Device::flex()).unwrap().0);
        model.fingerprint()
    };
    let name = "llama_rslora_qv";
    let values = of(&golden(name));
    assert_ne!(values, base.fingerprint());
    assert_eq!(values, of(edited(name, "adapter_config.json", |_| ()).path()));
    let keys = edited(name, "adapter_config.json", |c| {
        c["target_modules"] = json!(["q_proj", "k_proj"]);
    });
    on_keys(keys.path());
    assert_ne!(values, of(keys.path()), "keys instead of values");
    let scaled = edited(name, "adapter_config.json", |c| c["lora_alpha"] = json!(32));
    assert_ne!(values, of(scaled.path()), "another scale");
}
