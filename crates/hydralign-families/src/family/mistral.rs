//! Mistral (`mistral`): Llama with a sliding window on every layer.

use super::parts::{llama_like, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Sliding, Window};

pub(super) struct Mistral;

impl Family for Mistral {
    fn model_type(&self) -> &'static str {
        "mistral"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let mut architecture = llama_like(fields)?;
        let layers = architecture.shape.layers;
        architecture.window = window(fields, Some(4096), layers, Sliding::Always)?
            .map(|window| Window { layers: Sliding::Always, ..window });
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &Names::LLAMA
    }
}
