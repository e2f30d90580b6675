//! Gemma 2 (`gemma2`): norms around both halves, 1 + γ, soft caps, windows on every other layer.

use super::parts::{Absent, activation, attention_bias, llama_like, whole_rope, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, NormKind, Rope, Sliding};

pub(super) struct Gemma2;

pub(super) const NAMES: Names = Names {
    attention_out_norm: "post_attention_layernorm",
    mlp_norm: "pre_feedforward_layernorm",
    mlp_out_norm: "post_feedforward_layernorm",
    ..Names::LLAMA
};

impl Family for Gemma2 {
    fn model_type(&self) -> &'static str {
        "gemma2"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let mut architecture = gemma(fields, whole_rope(fields)?)?;
        let layers = architecture.shape.layers;
        architecture.window = window(fields, Some(4096), layers, Sliding::ExceptEvery(2))?;
        architecture.attention_softcap = cap(fields, "attn_logit_softcapping", Some(50.0))?;
        architecture.logit_softcap = cap(fields, "final_logit_softcapping", Some(30.0))?;
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }
}

/// What Gemma 2 and 3 share.
pub(super) fn gemma(fields: &Fields<'_>, rope: Rope) -> Result<Architecture, FamilyError> {
    fields.not_null("head_dim")?;
    fields.not_null("num_key_value_heads")?;
    fields.not_null("sliding_window")?;
    let bidirectional = "use_bidirectional_attention";
    if fields.get(bidirectional).is_some() && fields.flag_or(bidirectional, false)? {
        return Err(fields.error(bidirectional, "is not a decoder"));
    }
    let absent = Absent { kv_heads: Some(4), head_dim: Some(256) };
    let mut architecture = llama_like(fields, absent, rope)?;
    let shape = &mut architecture.shape;
    shape.tied = fields.flag_or("tie_word_embeddings", true)?;
    shape.parts.sandwich = true;
    attention_bias(fields, &mut shape.parts)?;
    architecture.norm = NormKind::RmsPlusOne;
    architecture.activation = activation(fields, "hidden_activation", "gelu_pytorch_tanh")?;
    architecture.embedding_scale = Some((shape.hidden as f64).sqrt());
    let scalar = fields.positive_or("query_pre_attn_scalar", 256.0)?;
    architecture.attention_scale = 1.0 / scalar.sqrt();
    Ok(architecture)
}

/// A cap, which a null switches off.
pub(super) fn cap(
    fields: &Fields<'_>,
    field: &str,
    default: Option<f64>,
) -> Result<Option<f64>, FamilyError> {
    match fields.value.get(field) {
        None => Ok(default),
        Some(serde_json::Value::Null) => Ok(None),
        Some(_) => fields.positive(field).map(Some),
    }
}
