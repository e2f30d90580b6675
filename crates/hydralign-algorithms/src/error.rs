use hydralign_advantage::AdvantageError;
use hydralign_core::CoreError;
use hydralign_rollout::RolloutError;
use thiserror::Error;

/// What can stop an algorithm.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AlgorithmError {
    /// A loss or gradient that is not a finite number. No weight has been changed by it.
    #[error("{what} is {value}; the weights are those of before this step")]
    NonFinite {
        /// The loss, or the gradient norm.
        what: &'static str,
        /// NaN or ±∞.
        value: f64,
    },
    /// A setting out of its range.
    #[error("setting `{field}` is {value}, but must be {expected}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// Nothing to learn from.
    #[error("no {what} to learn from")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// A group of parameters with a rate of its own that cannot be.
    #[error("rates of the parameters `{paths}`: {reason}")]
    Rates {
        /// The pattern of their paths.
        paths: String,
        /// Why not.
        reason: String,
    },
    /// What was written down of a learner does not fit this one.
    #[error("the state of the learner cannot be restored: {reason}")]
    Record {
        /// Why.
        reason: String,
    },
    /// A fault between model and algorithm.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A fault of the numbers that credit is computed from.
    #[error(transparent)]
    Advantage(#[from] AdvantageError),
    /// A fault while sampling.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
}
