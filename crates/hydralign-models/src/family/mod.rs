//! Model families: a family is a mapping of configuration fields and a mapping of tensor
//! names, never a second model.

mod fields;
mod llama;

use crate::{Architecture, ModelError};
use fields::Fields;
use hydralign_placement::Target;
use serde_json::Value;
use std::path::Path;

/// A place for a tensor in a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Embedding,
    FinalNorm,
    LmHead,
    ScalarHead,
    AttentionNorm(usize),
    MlpNorm(usize),
    Projection(usize, Target),
}

/// How one family of checkpoints names and describes the parts of a decoder.
pub(crate) trait Family: Sync {
    /// The `model_type` of its configurations.
    fn model_type(&self) -> &'static str;

    /// The architecture that a configuration describes.
    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, ModelError>;

    /// The module that holds a slot's weight, such as `model.layers.0.self_attn.q_proj`.
    fn module(&self, slot: Slot) -> String;
}

const FAMILIES: [&dyn Family; 1] = [&llama::Llama];

/// The family that a configuration names.
pub(crate) fn of(config: &Value, path: &Path) -> Result<&'static dyn Family, ModelError> {
    let name = Fields::new(config, path).text("model_type")?;
    FAMILIES.into_iter().find(|f| f.model_type() == name).ok_or_else(|| ModelError::UnknownFamily {
        path: path.to_owned(),
        family: name,
        known: FAMILIES.map(Family::model_type).join(", "),
    })
}

/// Reads an architecture from a parsed `config.json`.
pub(crate) fn architecture(config: &Value, path: &Path) -> Result<Architecture, ModelError> {
    of(config, path)?.architecture(&Fields::new(config, path))
}
