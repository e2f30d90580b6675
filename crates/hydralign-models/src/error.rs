use hydralign_core::CoreError;
use hydralign_families::FamilyError;
use hydralign_placement::{PlacementError, Role, Source};
use std::path::PathBuf;
use thiserror::Error;

/// What can go wrong with models and their files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file that cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights that make no head.
    #[error("a head needs at least one weight, and all of them finite: {count} were given")]
    HeadWeights {
        /// How many there were.
        count: usize,
    },
    /// A head for states of another length.
    #[error("the {role}'s head reads states of {head} numbers, but its trunk gives {trunk}")]
    HeadWidth {
        /// Whose head it is.
        role: Role,
        /// What the head reads.
        head: usize,
        /// What the trunk gives.
        trunk: usize,
    },
    /// A field of an `adapter_config.json` that is missing, of the wrong type, or not supported.
    #[error("{}: field `{field}`: {reason}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the model needs is not in the file.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    MissingTensor {
        /// The weights file.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
    },
    /// A model with the head of another trainer or task, where a language model is asked for.
    #[error(
        "{}: `{tensor}` is {kind}, and there is no `{head}`: this is neither a language model nor a \
         reward model (whose head is `score.weight`)",
        path.display()
    )]
    OtherHead {
        /// The weights file.
        path: PathBuf,
        /// The head that was found.
        tensor: String,
        /// What it is.
        kind: String,
        /// The head that was asked for.
        head: String,
    },
    /// A tensor of the wrong shape.
    #[error(
        "{}: tensor `{tensor}` has shape {got:?}, but the configuration asks for {expected:?}",
        path.display()
    )]
    TensorShape {
        /// The weights file.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
        /// Shape that the configuration asks for.
        expected: Vec<usize>,
        /// Shape in the file.
        got: Vec<usize>,
    },
    /// A tensor in the file that the model has no place for.
    #[error("{}: tensor `{tensor}` has no place in this model", path.display())]
    UnexpectedTensor {
        /// The weights file.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
    },
    /// A number type that cannot be read as weights.
    #[error("{}: tensor `{tensor}` has dtype {dtype}; f32, f16 and bf16 are read", path.display())]
    Dtype {
        /// The weights file.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
        /// The type found.
        dtype: String,
    },
    /// A weight that cannot be held in a smaller number type.
    #[error("a weight is too large to be held as {dtype}")]
    Narrowing {
        /// The type asked for.
        dtype: &'static str,
    },
    /// The placement copies a start adapter that the checkpoint does not have.
    #[error(
        "the placement starts from the adapter of the {checkpoint:?} checkpoint, which has none"
    )]
    NoStartAdapter {
        /// The checkpoint in question.
        checkpoint: Source,
    },
    /// A checkpoint with an unmerged adapter under a placement that would ignore it.
    #[error(
        "the {checkpoint:?} checkpoint carries an adapter, but placement `{placement}` starts no adapter from it: the {role} would see the bare base. Use `starting_from_adapter`, or merge it"
    )]
    StartAdapterIgnored {
        /// The checkpoint in question.
        checkpoint: Source,
        /// Name of the placement.
        placement: String,
        /// A role that would read the wrong weights.
        role: Role,
    },
    /// A scalar role whose checkpoint has no scalar head and none may be made.
    #[error("the {role} needs a reward head, but its checkpoint has none")]
    NoRewardHead {
        /// The role in question.
        role: Role,
    },
    /// Two parts that should fit each other do not.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// The value needed.
        expected: String,
        /// The value found.
        got: String,
    },
    /// A fault of a model's `config.json`.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// A fault of the placement.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A fault of a batch.
    #[error(transparent)]
    Core(#[from] CoreError),
}
