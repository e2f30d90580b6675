//! Configurations: those of published models give the published sizes, damaged ones are named.

use hydralign_families::{FamilyError, architecture, read_architecture, read_config};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// What the `config.json` of a model says of its weights, and its number of parameters: that which
/// Hugging Face reports, for Pythia that of Biderman et al. 2023, Table 1.
fn published() -> Vec<(&'static str, Value, u64)> {
    vec![
        (
            "openai-community/gpt2",
            json!({
                "model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_head": 12,
                "n_layer": 12, "n_positions": 1024, "activation_function": "gelu_new",
            }),
            124_439_808,
        ),
        (
            "EleutherAI/pythia-160m",
            json!({
                "model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 768,
                "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                "max_position_embeddings": 2048, "rotary_pct": 0.25, "hidden_act": "gelu",
                "tie_word_embeddings": false,
            }),
            162_322_944,
        ),
        (
            "facebook/opt-350m",
            json!({
                "model_type": "opt", "vocab_size": 50272, "hidden_size": 1024, "ffn_dim": 4096,
                "num_hidden_layers": 24, "num_attention_heads": 16, "word_embed_proj_dim": 512,
                "max_position_embeddings": 2048, "do_layer_norm_before": false,
                "activation_function": "relu",
            }),
            331_196_416,
        ),
        (
            "meta-llama/Llama-3.2-1B",
            json!({
                "model_type": "llama", "vocab_size": 128_256, "hidden_size": 2048,
                "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
                "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131_072,
                "tie_word_embeddings": true, "rope_theta": 500_000.0,
                "rope_scaling": {
                    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
                },
            }),
            1_235_814_400,
        ),
        (
            "Qwen/Qwen3-0.6B-Base",
            json!({
                "model_type": "qwen3", "vocab_size": 151_936, "hidden_size": 1024,
                "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
                "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 32768,
                "tie_word_embeddings": true,
            }),
            596_049_920,
        ),
        (
            "google/gemma-2-2b",
            json!({
                "model_type": "gemma2", "vocab_size": 256_000, "hidden_size": 2304,
                "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
                "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
            }),
            2_614_341_888,
        ),
        (
            "google/gemma-3-1b-pt",
            json!({
                "model_type": "gemma3_text", "vocab_size": 262_144, "hidden_size": 1152,
                "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
                "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 32768,
                "sliding_window": 512,
            }),
            999_885_952,
        ),
    ]
}

#[test]
fn published_configurations_have_their_published_parameter_counts() {
    for (name, config, count) in published() {
        let read = architecture(&config, Path::new(name)).unwrap();
        assert_eq!(read.shape.parameters(), count, "{name}");
    }
}

/// A folder with the first of the published configurations.
fn folder() -> (TempDir, Value) {
    let (_, config, _) = published().swap_remove(0);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    (dir, config)
}

#[test]
fn a_folder_and_its_file_are_read_alike_and_without_weights() {
    let (dir, config) = folder();
    let file = dir.path().join("config.json");
    let parsed = architecture(&config, &file).unwrap();
    assert_eq!(read_architecture(dir.path()).unwrap(), parsed);
    assert_eq!(read_architecture(&file).unwrap(), parsed);
    assert_eq!(parsed.config, config);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let (dir, _) = folder();
    let file = dir.path().join("config.json");
    std::fs::write(&file, "{\"model_type\": ").unwrap();
    let error = read_architecture(dir.path()).unwrap_err();
    assert!(matches!(&error, FamilyError::Malformed { path, .. } if *path == file), "{error}");
    assert!(error.to_string().contains("not JSON"), "{error}");
    std::fs::remove_file(&file).unwrap();
    for path in [dir.path(), &file] {
        let error = read_architecture(path).unwrap_err();
        assert!(matches!(&error, FamilyError::Io { path, .. } if *path == file), "{error}");
    }
}

#[test]
fn a_file_is_read_up_to_its_largest_size() {
    let (dir, config) = folder();
    let file = dir.path().join("config.json");
    let mut text = config.to_string();
    text.extend(std::iter::repeat_n(' ', (16 << 20) - text.len()));
    std::fs::write(&file, &text).unwrap();
    assert_eq!(read_config(&file).unwrap(), config);
    text.push(' ');
    std::fs::write(&file, &text).unwrap();
    let error = read_config(&file).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: has more than 16777216 bytes", file.display()));
}

#[test]
fn errors_name_file_and_field() {
    let (dir, config) = folder();
    let file = dir.path().join("config.json");
    let error = |field: &str, value: Value| {
        let mut config = config.clone();
        config[field] = value;
        std::fs::write(&file, config.to_string()).unwrap();
        let text = read_architecture(dir.path()).unwrap_err().to_string();
        text.strip_prefix(&format!("{}: ", file.display())).unwrap_or(&text).to_owned()
    };
    assert_eq!(error("n_layer", json!(0)), "field `n_layer`: must be a positive integer, got 0");
    assert_eq!(error("n_head", json!(7)), "field `n_head`: 7 does not divide 768");
    assert_eq!(
        error("model_type", json!("bert")),
        "model_type `bert` is not supported (known: llama, mistral, qwen2, qwen3, gemma2, \
         gemma3_text, gpt2, gpt_neox, opt)"
    );
}
