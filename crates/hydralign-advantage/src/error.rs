use thiserror::Error;

/// What can be wrong with the numbers that credit is computed from.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum AdvantageError {
    /// Two per-token slices of one episode differ in length.
    #[error("{left_len} {left} but {right_len} {right}: one of each per response token is needed")]
    LengthMismatch {
        /// What the first slice holds.
        left: &'static str,
        /// Its length.
        left_len: usize,
        /// What the second slice holds.
        right: &'static str,
        /// Its length.
        right_len: usize,
    },
    /// An input, or a number computed from it, is NaN or infinite.
    #[error("{what}[{index}] is {value}")]
    NonFinite {
        /// What the slice holds.
        what: &'static str,
        /// Where in the slice.
        index: usize,
        /// NaN or ±∞.
        value: f32,
    },
    /// A log-probability that is far above zero: a placeholder of some mask, not a measurement.
    #[error("{what}[{index}] is {value}, which is no log-probability")]
    NotALogprob {
        /// What the slice holds.
        what: &'static str,
        /// Where in the slice.
        index: usize,
        /// The number found.
        value: f32,
    },
    /// A parameter outside of its range.
    #[error("{name} is {value}, but must be {expected}")]
    OutOfRange {
        /// Name of the parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// Too few numbers for the statistic.
    #[error("{count} {what}, but at least {needed} are needed")]
    TooFew {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are needed.
        needed: usize,
    },
}
