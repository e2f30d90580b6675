//! Llama 1, 2 and 3 (`model_type` `llama`), in the spelling of transformers 4 and 5.

use super::{Family, Fields, Slot};
use crate::ModelError;
use crate::architecture::{Architecture, Rope};
use hydralign_placement::{ModelShape, Target};
use serde_json::json;
use std::path::Path;

pub(super) struct Llama;

impl Family for Llama {
    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, ModelError> {
        for unsupported in ["attention_bias", "mlp_bias"] {
            if fields.flag(unsupported)? {
                return Err(fields.error(unsupported, "biases are not supported in this family"));
            }
        }
        if let Some(activation) = fields.get("hidden_act").filter(|v| *v != "silu") {
            return Err(fields.error("hidden_act", format!("must be `silu`, got {activation}")));
        }
        let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let optional = |field: &str, default: usize| match fields.get(field) {
            Some(_) => fields.size(field),
            None => Ok(default),
        };
        let shape = ModelShape {
            vocab: fields.size("vocab_size")?,
            hidden,
            intermediate: fields.size("intermediate_size")?,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads: optional("num_key_value_heads", heads)?,
            head_dim: optional("head_dim", hidden / heads)?,
            tied: fields.flag("tie_word_embeddings")?,
        };
        check(fields, &shape)?;
        Ok(Architecture {
            shape,
            norm_eps: fields.number("rms_norm_eps")?,
            rope: rope(fields)?,
            context: fields.size("max_position_embeddings")?,
            config: fields.value.clone(),
        })
    }

    fn module(&self, slot: Slot) -> String {
        match slot {
            Slot::Embedding => "model.embed_tokens".into(),
            Slot::FinalNorm => "model.norm".into(),
            Slot::LmHead => "lm_head".into(),
            Slot::ScalarHead => "score".into(),
            Slot::AttentionNorm(i) => format!("model.layers.{i}.input_layernorm"),
            Slot::MlpNorm(i) => format!("model.layers.{i}.post_attention_layernorm"),
            Slot::Projection(i, target) => format!("model.layers.{i}.{}", projection(target)),
        }
    }
}

fn projection(target: Target) -> &'static str {
    match target {
        Target::Query => "self_attn.q_proj",
        Target::Key => "self_attn.k_proj",
        Target::Value => "self_attn.v_proj",
        Target::Output => "self_attn.o_proj",
        Target::Gate => "mlp.gate_proj",
        Target::Up => "mlp.up_proj",
        Target::Down => "mlp.down_proj",
    }
}

fn check(fields: &Fields<'_>, shape: &ModelShape) -> Result<(), ModelError> {
    if !shape.heads.is_multiple_of(shape.kv_heads) {
        let reason = format!("{} does not divide {} query heads", shape.kv_heads, shape.heads);
        return Err(fields.error("num_key_value_heads", reason));
    }
    if shape.head_dim == 0 || !shape.head_dim.is_multiple_of(2) {
        let reason = format!("rotary positions need an even head size, got {}", shape.head_dim);
        return Err(fields.error("head_dim", reason));
    }
    Ok(())
}

/// `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (transformers 4).
fn rope(fields: &Fields<'_>) -> Result<Rope, ModelError> {
    let scaling = fields.object("rope_parameters").or_else(|| fields.object("rope_scaling"));
    let theta = |f: &Fields<'_>| f.get("rope_theta").map(|_| f.number("rope_theta")).transpose();
    let nested = scaling.as_ref().map(theta).transpose()?.flatten();
    let base = nested.or(theta(fields)?).unwrap_or(10_000.0);
    let Some(scaling) = scaling else { return Ok(Rope::Plain { base }) };
    let kind = if scaling.get("rope_type").is_some() { "rope_type" } else { "type" };
    match scaling.text(kind)?.as_str() {
        "default" => Ok(Rope::Plain { base }),
        "llama3" => Ok(Rope::Llama3 {
            base,
            factor: scaling.number("factor")?,
            low: scaling.number("low_freq_factor")?,
            high: scaling.number("high_freq_factor")?,
            original: scaling.number("original_max_position_embeddings")?,
        }),
        other => {
            let reason = format!("`{other}` is not supported (known: default, llama3)");
            Err(fields.error("rope_type", reason))
        }
    }
}

impl Architecture {
    /// A Llama of the given sizes with plain rotary positions, ε = 1e-5, for models made from
    /// scratch; `eos` is written to the configuration.
    ///
    /// # Errors
    /// [`ModelError::Config`] if the sizes do not fit each other.
    pub fn llama(shape: &ModelShape, context: usize, eos: u32) -> Result<Self, ModelError> {
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
        Llama.architecture(&Fields::new(&config, Path::new("config.json")))
    }
}
