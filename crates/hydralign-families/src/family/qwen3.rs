//! Qwen3 (`qwen3`): Llama with norms on each head's queries and keys, and a head size of its own.

use super::parts::{Absent, attention_bias, llama_like, whole_rope};
use super::qwen2::upper_window;
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::Architecture;

pub(super) struct Qwen3;

const NAMES: Names =
    Names { query_norm: "self_attn.q_norm", key_norm: "self_attn.k_norm", ..Names::LLAMA };

impl Family for Qwen3 {
    fn model_type(&self) -> &'static str {
        "qwen3"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        fields.not_null("head_dim")?;
        let absent = Absent { kv_heads: Some(32), head_dim: Some(128) };
        let mut architecture = llama_like(fields, absent, whole_rope(fields)?)?;
        attention_bias(fields, &mut architecture.shape.parts)?;
        architecture.shape.parts.qk_norm = true;
        architecture.window = upper_window(fields, architecture.shape.layers)?;
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }
}
