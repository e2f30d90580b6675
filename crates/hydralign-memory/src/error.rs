use crate::NoFit;
use hydralign_placement::PlacementError;
use thiserror::Error;

/// What can be wrong with a prediction's input or with a size written by hand.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The placement contradicts itself.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A count that must be at least one is zero.
    #[error("`{field}` is 0; it must be at least 1")]
    Zero {
        /// The field of the shape, adapter, workload or profile.
        field: &'static str,
    },
    /// A part is larger than the whole.
    #[error("`{part}` is {part_value}, more than `{whole}`, which is {whole_value}")]
    PartExceedsWhole {
        /// The smaller one by meaning.
        part: &'static str,
        /// Its value.
        part_value: usize,
        /// The larger one by meaning.
        whole: &'static str,
        /// Its value.
        whole_value: usize,
    },
    /// Query heads can not be shared out over the key-value heads.
    #[error("{heads} query heads do not divide over {kv_heads} key-value heads")]
    UnevenHeads {
        /// Query heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
    },
    /// A count beyond what anything real has.
    #[error("`{field}` is {value}; at most {most} are gone through")]
    TooLarge {
        /// The field of the shape.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The most that is accepted.
        most: usize,
    },
    /// Sequences longer than the model was made for.
    #[error("{needed} tokens a sequence, but the model's context holds {context}")]
    Context {
        /// Tokens of prompt and response.
        needed: u64,
        /// Positions of the model.
        context: u64,
    },
    /// A number format without that name.
    #[error("unknown number format `{text}`; known are f32, f16 and bf16")]
    UnknownDtype {
        /// The text as given.
        text: String,
    },
    /// No plan stays within the budget.
    #[error("{0}")]
    NoFit(Box<NoFit>),
    /// The number of bytes does not fit into 64 bits.
    #[error("the size of {what} is beyond 2^64")]
    Overflow {
        /// What was being counted.
        what: &'static str,
    },
    /// A size without digits before its unit.
    #[error("`{text}` is not a size; write for example `16GiB`, `800 MB` or `4096`")]
    BadSize {
        /// The text as given.
        text: String,
    },
    /// A size in a unit that does not exist.
    #[error(
        "unknown unit `{unit}` in `{text}`; known are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB"
    )]
    UnknownUnit {
        /// The text as given.
        text: String,
        /// What follows the number.
        unit: String,
    },
}
