//! Qwen2 and Qwen2.5 (`qwen2`): Llama with biases on queries, keys and values, and windows on
//! the upper layers where they are switched on.

use super::parts::{Absent, layer_types, llama_like, whole_rope, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Sliding, Window};

pub(super) struct Qwen2;

impl Family for Qwen2 {
    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        fields.not_null("head_dim")?;
        let mut architecture =
            llama_like(fields, Absent { kv_heads: Some(32), head_dim: None }, whole_rope(fields)?)?;
        architecture.shape.parts.qkv_bias = true;
        architecture.window = upper_window(fields, architecture.shape.layers)?;
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &Names::LLAMA
    }
}

/// The window of Qwen2 and Qwen3: only with `use_sliding_window`, from `max_window_layers` on.
pub(super) fn upper_window(
    fields: &Fields<'_>,
    layers: usize,
) -> Result<Option<Window>, FamilyError> {
    if !fields.flag_or("use_sliding_window", false)? {
        // A listed layer that slides without a window is refused by transformers too.
        let listed = fields.get("layer_types").map(|list| layer_types(fields, list, layers));
        return match listed.transpose()?.is_some_and(|kinds| kinds.contains(&true)) {
            true => {
                Err(fields.error("layer_types", "has windows, and `use_sliding_window` is off"))
            }
            false => Ok(None),
        };
    }
    let first = fields.count_or("max_window_layers", 28)?;
    window(fields, Some(4096), layers, Sliding::From(first))
}
