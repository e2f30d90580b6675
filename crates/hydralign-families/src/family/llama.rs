//! Llama 1, 2 and 3 (`llama`), with their biases and rope scalings.

use super::parts::{Absent, attention_bias, llama_like, whole_rope};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::Architecture;
use hydralign_placement::ModelShape;
use serde_json::json;
use std::path::Path;

pub(super) struct Llama;

impl Family for Llama {
    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let mut architecture = llama_like(fields, Absent::default(), whole_rope(fields)?)?;
        attention_bias(fields, &mut architecture.shape.parts)?;
        architecture.shape.parts.mlp_bias = fields.flag_or("mlp_bias", false)?;
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &Names::LLAMA
    }
}

impl Architecture {
    /// A Llama of the given sizes with plain rotary positions, ε = 1e-5, for models made from
    /// scratch; `eos` is written to the configuration.
    ///
    /// # Errors
    /// [`FamilyError::Config`] if the sizes do not fit each other.
    pub fn llama(shape: &ModelShape, context: usize, eos: u32) -> Result<Self, FamilyError> {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "vocab_size": shape.vocab,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "max_position_embeddings": context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": shape.tied,
            "eos_token_id": eos,
            "torch_dtype": "float32",
        });
        super::architecture(&config, Path::new("config.json"))
    }
}
