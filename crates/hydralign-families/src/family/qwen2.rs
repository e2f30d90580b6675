//! Qwen2 and Qwen2.5 (`qwen2`): Llama with biases on queries, keys and values, and windows on
//! the upper layers where they are switched on.

use super::parts::{llama_like, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Sliding, Window};

pub(super) struct Qwen2;

impl Family for Qwen2 {
    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let mut architecture = llama_like(fields)?;
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
        return Ok(None);
    }
    let first = fields.count_or("max_window_layers", 28)?;
    window(fields, Some(4096), layers, Sliding::From(first))
}
