//! Model families: a family is a mapping of configuration fields and a table of tensor names,
//! never a second model.

mod fields;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod llama;
mod mistral;
mod names;
mod opt;
mod parts;
mod qwen2;
mod qwen3;

use crate::files::Order;
use crate::{Architecture, ModelError};
pub(crate) use fields::Fields;
use hydralign_placement::{ModelShape, Target};
pub(crate) use names::Names;
use serde_json::Value;
use std::path::Path;

/// A place for a module in a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Embedding,
    Positions,
    ProjectIn,
    ProjectOut,
    FinalNorm,
    LmHead,
    ScalarHead,
    AttentionNorm(usize),
    MlpNorm(usize),
    AttentionOutNorm(usize),
    MlpOutNorm(usize),
    QueryNorm(usize),
    KeyNorm(usize),
    Projection(usize, Target),
}

/// How a family stores its projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// `[out, in]`, as `torch.nn.Linear`.
    OutIn,
    /// `[in, out]`, as the `Conv1D` of GPT-2.
    InOut,
}

/// How one family of checkpoints names and describes the parts of a decoder.
pub(crate) trait Family: Sync {
    /// The `model_type` of its configurations.
    fn model_type(&self) -> &'static str;

    /// The architecture that a configuration describes.
    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, ModelError>;

    /// What its modules are called.
    fn names(&self) -> &'static Names;

    /// How its projections lie in a file.
    fn storage(&self) -> Storage {
        Storage::OutIn
    }

    /// How the outputs of a projection are ordered in a file.
    fn order(&self, _shape: &ModelShape, _target: Target) -> Order {
        Order::Same
    }
}

const FAMILIES: [&dyn Family; 9] = [
    &llama::Llama,
    &mistral::Mistral,
    &qwen2::Qwen2,
    &qwen3::Qwen3,
    &gemma2::Gemma2,
    &gemma3::Gemma3,
    &gpt2::Gpt2,
    &gpt_neox::GptNeoX,
    &opt::Opt,
];

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
    let fields = Fields::new(config, path);
    let architecture = of(config, path)?.architecture(&fields)?;
    parts::check(&fields, &architecture)?;
    Ok(architecture)
}
