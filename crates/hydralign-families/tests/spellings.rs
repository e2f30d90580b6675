//! Configurations with unusual spellings are read as transformers reads them, or refused, and every key
//! of its configuration classes is known. Expected values: `golden/spellings.py`.

use hydralign_families::{Architecture, FamilyError, Sliding, Window, architecture, read_config};
use serde_json::{Value, json};
use std::path::Path;

/// Keys that say what a model computes.
const READ: &str = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads \
    num_key_value_heads head_dim hidden_act hidden_activation max_position_embeddings rms_norm_eps \
    tie_word_embeddings rope_parameters attention_bias mlp_bias sliding_window use_sliding_window \
    max_window_layers layer_types query_pre_attn_scalar final_logit_softcapping \
    attn_logit_softcapping use_bidirectional_attention n_positions n_embd n_layer n_head n_inner \
    activation_function layer_norm_epsilon scale_attn_weights scale_attn_by_inverse_layer_idx \
    add_cross_attention layer_norm_eps use_parallel_residual ffn_dim do_layer_norm_before \
    _remove_final_layer_norm word_embed_proj_dim enable_bias layer_norm_elementwise_affine \
    is_encoder_decoder";

/// Keys that do not: special tokens, dropout, initial weights, caches, heads for other tasks, notes.
const HARMLESS: &str = "initializer_range init_std use_cache pad_token_id bos_token_id eos_token_id \
    pretraining_tp attention_dropout hidden_dropout classifier_dropout resid_pdrop embd_pdrop \
    attn_pdrop dropout layerdrop summary_type summary_use_proj summary_activation \
    summary_proj_to_labels summary_first_dropout reorder_and_upcast_attn is_decoder architectures \
    chunk_size_feed_forward dtype id2label label2id output_hidden_states problem_type return_dict \
    transformers_version";

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/spellings.json")).unwrap()
}

fn read(config: &Value) -> Result<Architecture, FamilyError> {
    architecture(config, Path::new("config.json"))
}

/// What is computed: all but the configuration that is kept for saving.
fn computed(config: &Value) -> Architecture {
    let read = read(config).unwrap_or_else(|e| panic!("{config}: {e}"));
    let layers = read.shape.layers;
    let window = read.window.map(|window| Window {
        layers: Sliding::Listed((0..layers).map(|i| window.covers(i)).collect()),
        ..window
    });
    Architecture { config: Value::Null, window, ..read }
}

#[test]
fn what_transformers_takes_first_is_taken_first() {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 150);
    for case in cases {
        let config = &case["config"];
        match case.get("like") {
            Some(like) => assert_eq!(computed(config), computed(like), "{config} as {like}"),
            None => assert!(read(config).is_err(), "{}: {config}", case["refused"]),
        }
    }
}

#[test]
fn every_key_of_transformers_is_read_or_harmless() {
    let golden = golden();
    let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
    let (known, harmless) = (words(READ), words(HARMLESS));
    for (family, keys) in golden["keys"].as_object().unwrap() {
        let cases = golden["cases"].as_array().unwrap();
        let plain = cases.iter().filter_map(|c| c.get("like"));
        let mut config = plain.clone().find(|c| c["model_type"] == **family).unwrap().clone();
        if keys.as_array().unwrap().contains(&json!("use_sliding_window")) {
            config["use_sliding_window"] = true.into();
        }
        let general = golden["general"].as_array().unwrap();
        for key in keys.as_array().unwrap().iter().chain(general).map(|k| k.as_str().unwrap()) {
            let mut strange = config.clone();
            strange[key] = json!({"strange": 1});
            match (known.contains(&key), harmless.contains(&key)) {
                (true, false) => {
                    let error = read(&strange).expect_err(&format!("{family}: {key}"));
                    let text = error.to_string();
                    assert!(
                        text.contains(key) || text.contains("strange"),
                        "{family}: {key}: {text}"
                    );
                }
                (false, true) => {
                    assert_eq!(computed(&strange), computed(&config), "{family}: {key}")
                }
                _ => panic!("{family}: {key} has no place"),
            }
        }
    }
}

#[test]
fn what_is_no_plain_decoder_is_refused_by_its_key() {
    let config = golden()["cases"][0]["like"].clone();
    for (key, value, off) in [
        ("quantization_config", json!({"quant_method": "bitsandbytes"}), json!({})),
        ("compression_config", json!({"format": "pack"}), Value::Null),
        ("is_encoder_decoder", json!(true), json!(false)),
        ("is_causal", json!(false), json!(true)),
        ("is_causal", Value::Null, json!(true)),
        ("per_layer_config", json!({"0": {"intermediate_size": 8}}), Value::Null),
    ] {
        let mut changed = config.clone();
        changed[key] = value;
        let error = read(&changed).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        changed[key] = off;
        assert_eq!(computed(&changed), computed(&config));
    }
}

#[test]
fn numbers_are_read_as_python_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = golden()["cases"][0]["like"].clone();
    let with = |key: &str, number: &str| {
        let mut config = config.clone();
        config[key] = "HERE".into();
        std::fs::write(&path, config.to_string().replace("\"HERE\"", number)).unwrap();
        architecture(&read_config(&path)?, &path)
    };
    for number in ["NaN", "Infinity", "-Infinity", "1e30", "1e999", "12"] {
        assert!(with("model_max_length", number).is_ok(), "{number}");
    }
    for number in ["NaN", "Infinity", "1e999"] {
        for key in ["rms_norm_eps", "num_key_value_heads", "rope_theta", "head_dim"] {
            let text = with(key, number).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("config.json"), "{text}");
        }
    }
    assert!(with("max_position_embeddings", "64.0").is_err());
    assert!(with("rope_theta", "10000").is_ok());
}
