//! Model families: a family is a mapping of configuration fields and a table of tensor names,
//! never a second model.

mod fields;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod keys;
mod llama;
mod mistral;
mod names;
mod opt;
mod parts;
mod qwen2;
mod qwen3;

use crate::{Architecture, FamilyError, Order};
pub use fields::Fields;
use hydralign_placement::{ModelShape, Target};
pub use names::Names;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// A place for a module in a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Tokens to vectors.
    Embedding,
    /// Table of learned positions.
    Positions,
    /// From a narrower embedding to the blocks (OPT-350m).
    ProjectIn,
    /// From the blocks to a narrower embedding.
    ProjectOut,
    /// Norm after the last block.
    FinalNorm,
    /// Vectors to logits.
    LmHead,
    /// Vectors to a score.
    ScalarHead,
    /// Norm before attention of a block (after it in a [`PostNorm`](crate::Residual::PostNorm)).
    AttentionNorm(usize),
    /// Norm before the feed-forward half, likewise.
    MlpNorm(usize),
    /// Norm of what attention adds (Gemma).
    AttentionOutNorm(usize),
    /// Norm of what the feed-forward half adds.
    MlpOutNorm(usize),
    /// Norm of each head's queries.
    QueryNorm(usize),
    /// Norm of each head's keys.
    KeyNorm(usize),
    /// A linear map of a block.
    Projection(usize, Target),
}

/// How a family stores its projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// `[out, in]`, as `torch.nn.Linear`.
    OutIn,
    /// `[in, out]`, as the `Conv1D` of GPT-2.
    InOut,
}

/// How one family of checkpoints names and describes the parts of a decoder.
///
/// Those of this crate are found by their `model_type`; one of your own is handed in, to [`architecture_of`] or to
/// what loads its weights.
pub trait Family: Sync {
    /// The `model_type` of its configurations.
    fn model_type(&self) -> &'static str;

    /// The architecture that a configuration describes, for [`architecture()`] to check.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming the field.
    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError>;

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

impl fmt::Debug for dyn Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

/// Families are told apart by their names.
impl PartialEq for dyn Family {
    fn eq(&self, other: &dyn Family) -> bool {
        self.model_type() == other.model_type()
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

/// The family that a configuration names in `model_type`; `path` is what errors call the file.
///
/// # Errors
/// [`FamilyError::UnknownFamily`], which lists those that are known.
pub fn of(config: &Value, path: &Path) -> Result<&'static dyn Family, FamilyError> {
    let name = Fields::new(config, path).text("model_type")?;
    FAMILIES.into_iter().find(|f| f.model_type() == name).ok_or_else(|| {
        FamilyError::UnknownFamily {
            path: path.to_owned(),
            family: name,
            known: FAMILIES.map(Family::model_type).join(", "),
        }
    })
}

/// The architecture that a parsed `config.json` describes; `path` is what errors call the file.
///
/// Both spellings of transformers are read: that of version 4 (`rope_theta`, `rope_scaling` …) and
/// that of version 5 (`rope_parameters`, `layer_types` …).
///
/// # Errors
/// An unknown family; a field that is missing, of the wrong type, not supported, or at odds with
/// another. Sizes whose products no tensor could have are among them.
pub fn architecture(config: &Value, path: &Path) -> Result<Architecture, FamilyError> {
    checked(of(config, path)?, &Fields::new(config, path))
}

/// The architecture of a family of your own that a parsed `config.json` describes.
///
/// # Errors
/// As [`architecture()`]; a `model_type` that is not the family's.
pub fn architecture_of(
    family: &'static dyn Family,
    config: &Value,
    path: &Path,
) -> Result<Architecture, FamilyError> {
    let fields = Fields::new(config, path);
    let name = fields.text("model_type")?;
    if name != family.model_type() {
        let reason = format!("is `{name}`, but the family is `{}`", family.model_type());
        return Err(fields.error("model_type", reason));
    }
    Ok(Architecture { own_family: Some(family), ..checked(family, &fields)? })
}

fn checked(family: &dyn Family, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
    keys::check(fields)?;
    let architecture = family.architecture(fields)?;
    parts::check(fields, &architecture)?;
    Ok(architecture)
}

/// The fields that Llama and its relatives share, read as Llama's: root-mean-square norms before each half, a gated
/// feed-forward block, rotary positions over whole heads, no biases, no window. What a family has beside these is
/// changed in the result.
///
/// # Errors
/// [`FamilyError::Config`] naming the field.
pub fn llama_like(fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
    parts::llama_like(fields, parts::Absent::default(), parts::whole_rope(fields)?)
}
