//! Mistral (`mistral`): Llama with a sliding window on every layer, or on those that `layer_types` lists.
//!
//! Source: transformers' `AutoConfig`, which reads a `mistral` with `layer_types` as Ministral.

use super::parts::{Absent, llama_like, whole_rope, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Sliding};

pub(super) struct Mistral;

impl Family for Mistral {
    fn model_type(&self) -> &'static str {
        "mistral"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let mut architecture =
            llama_like(fields, Absent { kv_heads: Some(8), head_dim: None }, whole_rope(fields)?)?;
        let layers = architecture.shape.layers;
        architecture.window = window(fields, Some(4096), layers, Sliding::Always)?;
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &Names::LLAMA
    }
}
