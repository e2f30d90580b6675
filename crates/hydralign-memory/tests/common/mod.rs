//! Models that tests predict for.

#![allow(dead_code, reason = "each test binary uses its own part")]

use hydralign_families::{Architecture, architecture};
use hydralign_placement::ModelShape;
use serde_json::json;
use std::path::Path;

/// Two blocks of Llama with grouped queries.
pub(crate) fn small() -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 2048, "tie_word_embeddings": true,
    });
    architecture(&config, Path::new("llama")).unwrap()
}

/// The small model with another shape and a context without end.
pub(crate) fn shaped(shape: ModelShape) -> Architecture {
    Architecture { shape, context: usize::MAX, ..small() }
}

/// Llama-2-7B (Hugging Face, meta-llama/Llama-2-7b-hf).
pub(crate) fn llama_2_7b() -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096,
        "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "max_position_embeddings": 4096, "tie_word_embeddings": false,
    });
    architecture(&config, Path::new("meta-llama/Llama-2-7b-hf")).unwrap()
}
