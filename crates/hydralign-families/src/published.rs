//! Published models by name, with what their `config.json` says of sizes and parts.

use crate::{Architecture, FamilyError, architecture};
use std::path::Path;

/// A name, and the fields of the `config.json` in the named repository of Hugging Face that sizes and
/// parts follow from.
const CONFIGS: [(&str, &str); 13] = [
    // Qwen/Qwen2.5-0.5B
    (
        "Qwen2.5-0.5B",
        r#"{"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "tie_word_embeddings": true, "use_sliding_window": false}"#,
    ),
    // EleutherAI/pythia-1b
    (
        "Pythia-1B",
        r#"{"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 8, "vocab_size": 50304,
        "max_position_embeddings": 2048, "layer_norm_eps": 1e-05, "rotary_emb_base": 10000,
        "rotary_pct": 0.25, "use_parallel_residual": true, "tie_word_embeddings": false}"#,
    ),
    // facebook/opt-1.3b
    (
        "OPT-1.3B",
        r#"{"model_type": "opt", "activation_function": "relu", "hidden_size": 2048, "ffn_dim": 8192,
        "num_hidden_layers": 24, "num_attention_heads": 32, "word_embed_proj_dim": 2048,
        "vocab_size": 50272, "max_position_embeddings": 2048, "do_layer_norm_before": true}"#,
    ),
    // Qwen/Qwen2.5-1.5B
    (
        "Qwen2.5-1.5B",
        r#"{"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 1536, "intermediate_size": 8960,
        "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "tie_word_embeddings": true, "use_sliding_window": false}"#,
    ),
    // EleutherAI/pythia-2.8b
    (
        "Pythia-2.8B",
        r#"{"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 50304,
        "max_position_embeddings": 2048, "layer_norm_eps": 1e-05, "rotary_emb_base": 10000,
        "rotary_pct": 0.25, "use_parallel_residual": true, "tie_word_embeddings": false}"#,
    ),
    // Qwen/Qwen2.5-3B
    (
        "Qwen2.5-3B",
        r#"{"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 11008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "tie_word_embeddings": true, "use_sliding_window": false}"#,
    ),
    // meta-llama/Llama-2-7b-hf
    (
        "Llama-2-7B",
        r#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": null,
        "tie_word_embeddings": false}"#,
    ),
    // EleutherAI/pythia-6.9b
    (
        "Pythia-6.9B",
        r#"{"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 4096, "intermediate_size": 16384,
        "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 50432,
        "max_position_embeddings": 2048, "layer_norm_eps": 1e-05, "rotary_emb_base": 10000,
        "rotary_pct": 0.25, "use_parallel_residual": true, "tie_word_embeddings": false}"#,
    ),
    // mistralai/Mistral-7B-v0.1
    (
        "Mistral-7B",
        r#"{"model_type": "mistral", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false}"#,
    ),
    // Qwen/Qwen2.5-7B
    (
        "Qwen2.5-7B",
        r#"{"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "tie_word_embeddings": false, "use_sliding_window": false}"#,
    ),
    // meta-llama/Llama-3.1-8B
    (
        "Llama-3.1-8B",
        r#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        "tie_word_embeddings": false}"#,
    ),
    // meta-llama/Llama-2-13b-hf
    (
        "Llama-2-13B",
        r#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 5120, "intermediate_size": 13824,
        "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 32000,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": null,
        "tie_word_embeddings": false}"#,
    ),
    // meta-llama/Llama-2-70b-hf
    (
        "Llama-2-70B",
        r#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": null,
        "tie_word_embeddings": false}"#,
    ),
];

/// The names that [`published`] knows, the smallest model first.
pub const PUBLISHED: [&str; CONFIGS.len()] = {
    let mut names = [""; CONFIGS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = CONFIGS[i].0;
        i += 1;
    }
    names
};

/// The architecture of a published model by its name, in upper or lower case.
///
/// The configurations are those of the base models; fields that no size and no part depends on are left
/// out.
///
/// # Errors
/// [`FamilyError::UnknownModel`], which lists [`PUBLISHED`].
pub fn published(name: &str) -> Result<Architecture, FamilyError> {
    let found = CONFIGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let (known, text) = found.ok_or_else(|| FamilyError::UnknownModel {
        name: name.to_owned(),
        known: PUBLISHED.join(", "),
    })?;
    let path = Path::new(known);
    let malformed = |e: serde_json::Error| FamilyError::Malformed {
        path: path.to_owned(),
        reason: format!("not JSON: {e}"),
    };
    architecture(&serde_json::from_str(text).map_err(malformed)?, path)
}
