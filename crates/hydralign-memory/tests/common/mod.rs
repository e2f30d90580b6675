//! Models that tests predict for.

// Every test file uses a part of these.
#![allow(dead_code)]

use hydralign_families::{Architecture, architecture};
use hydralign_placement::ModelShape;
use serde_json::json;
use std::path::Path;

/// Two blocks of Llama with grouped queries.
pub fn small() -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 2048, "tie_word_embeddings": true,
    });
    architecture(&config, Path::new("llama")).unwrap()
}

/// The small model with another shape and a context without end.
pub fn shaped(shape: ModelShape) -> Architecture {
    Architecture { shape, context: usize::MAX, ..small() }
}
