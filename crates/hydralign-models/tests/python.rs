//! What is saved, read by transformers and peft themselves.
//!
//! Ignored unless asked for, because it needs Python with both packages: name its interpreter in
//! `HYDRALIGN_PYTHON` (`python3` otherwise) and run
//! `cargo test --workspace --test python -- --ignored`.
#![allow(clippy::print_stdout, reason = "what was tried is worth seeing")]

mod common;

use burn::tensor::Device;
use common::golden;
use hydralign_models::{
    SaveOptions, copy_companions, load_adapter, load_checkpoint, save_adapter, save_checkpoint,
};
use std::path::Path;
use std::process::Command;

fn check(model: &Path, adapter: Option<&Path>, reference: &Path, tensor: &str) {
    let python = std::env::var("HYDRALIGN_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_saved.py");
    let mut command = Command::new(&python);
    command.arg(script).arg(model).arg("--reference").arg(reference).args(["--tensor", tensor]);
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
    let output = command.output().unwrap_or_else(|e| panic!("{python}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = reference.parent().unwrap().file_name().unwrap().to_string_lossy();
    println!("{shown}, {tensor}: {}", text.trim());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {} {text} {errors}", output.status);
}

#[test]
#[ignore = "needs Python with transformers and peft"]
fn transformers_loads_what_is_saved() {
    let names = std::fs::read_dir(golden("families")).unwrap().map(|e| e.unwrap().path());
    let mut folders: Vec<_> = names.filter(|p| p.join("config_v4.json").exists()).collect();
    folders.sort();
    assert!(folders.len() > 20);
    for (i, folder) in folders.iter().enumerate() {
        let loaded = load_checkpoint(folder, &Device::flex()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Every other one in shards.
        let shard_bytes = if i % 2 == 0 { usize::MAX } else { 30_000 };
        let options = SaveOptions { shard_bytes, ..SaveOptions::default() };
        save_checkpoint(dir.path(), &loaded.trunk, loaded.reward_head.as_ref(), &options).unwrap();
        copy_companions(folder, dir.path()).unwrap();
        let tensor = if loaded.reward_head.is_some() { "scores" } else { "logits" };
        check(dir.path(), None, &folder.join("reference.safetensors"), tensor);
    }
}

#[test]
#[ignore = "needs Python with transformers and peft"]
fn peft_loads_what_is_saved() {
    let names = std::fs::read_dir(golden("adapters")).unwrap().map(|e| e.unwrap().path());
    let mut folders: Vec<_> = names.filter(|p| p.is_dir()).collect();
    folders.sort();
    for folder in folders {
        let config = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let base = golden("families").join(config["base_model_name_or_path"].as_str().unwrap());
        let loaded = load_checkpoint(&base, &Device::flex()).unwrap();
        let architecture = loaded.trunk.architecture();
        let (adapter, head) = load_adapter(&folder, architecture, &Device::flex()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        save_adapter(dir.path(), &adapter, head.as_ref(), architecture, "base").unwrap();
        let reference = folder.join("reference.safetensors");
        check(&base, Some(dir.path()), &reference, "on");
        // Merged, and saved as a model of its own.
        let merged = loaded.trunk.merge(&adapter).unwrap();
        let whole = tempfile::tempdir().unwrap();
        save_checkpoint(whole.path(), &merged, head.as_ref(), &SaveOptions::default()).unwrap();
        check(whole.path(), None, &reference, "merged");
    }
}
