//! Round trips, shards, and files that are not what they should be.

mod common;

use burn::tensor::Device;
use common::{golden, load, tensors};
use hydralign_models::{ModelError, SaveOptions, load_checkpoint, save_checkpoint};
use safetensors::tensor::{SafeTensors, TensorView, serialize_to_file};
use std::collections::BTreeMap;
use std::path::Path;

const WEIGHTS: &str = "model.safetensors";

fn copy(name: &str, files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::copy(golden(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn error(dir: &Path) -> String {
    load_checkpoint(dir, &Device::flex()).unwrap_err().to_string()
}

#[test]
fn load_and_save_keeps_every_bit() {
    for name in ["llama", "llama31_rope", "llama_rm"] {
        let checkpoint = load(name);
        let dir = tempfile::tempdir().unwrap();
        save_checkpoint(
            dir.path(),
            &checkpoint.trunk,
            checkpoint.reward_head.as_ref(),
            &SaveOptions::default(),
        )
        .unwrap();
        let (got, expected) =
            (tensors(&dir.path().join(WEIGHTS)), tensors(&golden(name).join(WEIGHTS)));
        assert!(got == expected, "{name}");
        let again = load_checkpoint(dir.path(), &Device::flex()).unwrap();
        assert_eq!(again.trunk.architecture().shape, checkpoint.trunk.architecture().shape);
    }
}

#[test]
fn shards_load_like_one_file() {
    let index_name = "model.safetensors.index.json";
    let dir = copy("llama", &["config.json"]);
    let index = std::fs::read_to_string(golden("llama_sharded").join(index_name)).unwrap();
    std::fs::write(dir.path().join(index_name), &index).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let bytes = std::fs::read(golden("llama").join(WEIGHTS)).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let mut shards: BTreeMap<String, Vec<(String, TensorView<'_>)>> = BTreeMap::new();
    for (name, file) in index["weight_map"].as_object().unwrap() {
        let view = whole.tensor(name).unwrap();
        shards.entry(file.as_str().unwrap().into()).or_default().push((name.clone(), view));
    }
    assert!(shards.len() > 1);
    for (file, views) in shards {
        serialize_to_file(views, None, &dir.path().join(file)).unwrap();
    }
    let sharded = load_checkpoint(dir.path(), &Device::flex()).unwrap();
    let out = tempfile::tempdir().unwrap();
    save_checkpoint(out.path(), &sharded.trunk, None, &SaveOptions::default()).unwrap();
    assert!(tensors(&out.path().join(WEIGHTS)) == tensors(&golden("llama").join(WEIGHTS)));
}

#[test]
fn truncated_or_foreign_weight_files_are_named() {
    let dir = copy("llama", &["config.json", WEIGHTS]);
    let path = dir.path().join(WEIGHTS);
    let bytes = std::fs::read(&path).unwrap();
    for keep in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let text = error(dir.path());
        assert!(text.contains(WEIGHTS), "{keep} bytes: {text}");
    }
    std::fs::write(&path, b"{\"not\": \"safetensors\"} and some more text").unwrap();
    assert!(error(dir.path()).contains(WEIGHTS));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        load_checkpoint(dir.path(), &Device::flex()),
        Err(ModelError::Io { path: p, .. }) if p == path
    ));
}

fn edit_config(dir: &Path, edit: impl Fn(&mut serde_json::Value)) {
    let path = dir.join("config.json");
    let mut value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
}

#[test]
fn bad_configurations_name_file_and_field() {
    type Edit = fn(&mut serde_json::Value);
    let cases: [(Edit, &str); 7] = [
        (|c| c["model_type"] = "mamba".into(), "`mamba` is not supported"),
        (|c| c["hidden_size"] = (-4).into(), "`hidden_size`"),
        (|c| c["num_key_value_heads"] = 3.into(), "`num_key_value_heads`"),
        (|c| c["rope_parameters"]["rope_type"] = "yarn".into(), "`yarn`"),
        (|c| c["attention_bias"] = 3.into(), "`attention_bias`"),
        (|c| c["hidden_act"] = "mish".into(), "`hidden_act`"),
        (|c| drop(c.as_object_mut().unwrap().remove("vocab_size")), "`vocab_size`: is missing"),
    ];
    for (edit, expected) in cases {
        let dir = copy("llama", &["config.json", WEIGHTS]);
        edit_config(dir.path(), edit);
        let text = error(dir.path());
        assert!(text.contains(expected) && text.contains("config.json"), "{text}");
    }
    let dir = copy("llama", &[WEIGHTS]);
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(error(dir.path()).contains("not JSON"));
}

#[test]
fn a_tensor_of_the_wrong_shape_or_out_of_place_is_named() {
    let dir = copy("llama", &["config.json", WEIGHTS]);
    edit_config(dir.path(), |c| c["intermediate_size"] = 128.into());
    let text = error(dir.path());
    assert!(text.contains("proj.weight") && text.contains("[128, 64]"), "{text}");

    let dir = copy("llama", &["config.json", WEIGHTS]);
    edit_config(dir.path(), |c| c["num_hidden_layers"] = 3.into());
    assert!(error(dir.path()).contains("`model.layers.2"), "missing tensor");

    let dir = copy("llama", &["config.json", WEIGHTS]);
    edit_config(dir.path(), |c| c["num_hidden_layers"] = 1.into());
    assert!(error(dir.path()).contains("has no place in this model"));
}

#[test]
fn a_failed_save_leaves_the_old_file_alone() {
    let checkpoint = load("llama");
    let dir = tempfile::tempdir().unwrap();
    save_checkpoint(dir.path(), &checkpoint.trunk, None, &SaveOptions::default()).unwrap();
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(),
        ["config.json", "generation_config.json", "model.safetensors"],
        "no temporary file is left"
    );
    let blocked = dir.path().join("config.json").join("below a file");
    assert!(save_checkpoint(&blocked, &checkpoint.trunk, None, &SaveOptions::default()).is_err());
    assert_eq!(names(), ["config.json", "generation_config.json", "model.safetensors"]);
}

#[test]
fn tensors_that_overlap_leave_gaps_or_lie_about_their_size_are_refused() {
    let load = |header: &str, bytes: usize| {
        let dir = copy("llama", &["config.json"]);
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + bytes, 0);
        std::fs::write(dir.path().join(WEIGHTS), file).unwrap();
        error(dir.path())
    };
    let entry = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    let overlap = two(entry("a", "[2]", 0, 8), entry("b", "[2]", 4, 12));
    let gap = two(entry("a", "[2]", 0, 8), entry("b", "[2]", 12, 20));
    let size = two(entry("a", "[3]", 0, 8), entry("b", "[2]", 8, 16));
    let huge = two(entry("a", "[4294967296, 4294967296, 4]", 0, 8), entry("b", "[2]", 8, 16));
    let backwards = two(entry("a", "[2]", 8, 0), entry("b", "[2]", 8, 16));
    for header in [overlap, gap, size, huge, backwards] {
        let text = load(&header, 20);
        assert!(text.contains(WEIGHTS) && text.contains("unreadable header"), "{text}");
    }
    let text = load(&two(entry("a", "[2]", 0, 8), entry("b", "[2]", 8, 16)), 12);
    assert!(text.contains("16 bytes of tensors promised, 12 present"), "{text}");
}

#[test]
fn a_head_that_is_not_the_embedding_unties_what_is_saved() {
    let dir = copy("llama", &["config.json", WEIGHTS]);
    edit_config(dir.path(), |config| config["tie_word_embeddings"] = true.into());
    let checkpoint = load_checkpoint(dir.path(), &Device::flex()).unwrap();
    let architecture = checkpoint.trunk.architecture();
    assert!(!architecture.shape.tied);
    assert_eq!(architecture.config["tie_word_embeddings"], false);
    let saved = tempfile::tempdir().unwrap();
    save_checkpoint(saved.path(), &checkpoint.trunk, None, &SaveOptions::default()).unwrap();
    let (got, expected) =
        (tensors(&saved.path().join(WEIGHTS)), tensors(&golden("llama").join(WEIGHTS)));
    assert!(got == expected);
    assert!(
        !load_checkpoint(saved.path(), &Device::flex()).unwrap().trunk.architecture().shape.tied
    );
}
