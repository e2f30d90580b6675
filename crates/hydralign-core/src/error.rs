use crate::{Reading, Role};
use thiserror::Error;

/// What can go wrong between a model and an algorithm.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A batch without rows.
    #[error("the batch has no sequences")]
    EmptyBatch,
    /// A row without a prompt.
    #[error("row {row} has an empty prompt")]
    EmptyPrompt {
        /// Index of the row.
        row: usize,
    },
    /// A row without a response.
    #[error("row {row} has an empty response")]
    EmptyResponse {
        /// Index of the row.
        row: usize,
    },
    /// A mask that does not fit its response, or leaves nothing of it.
    #[error(
        "row {row} has {response} response tokens and a mask of {mask} that keeps {kept}: one entry a token, and at least one kept"
    )]
    ResponseMask {
        /// Index of the row.
        row: usize,
        /// Response tokens.
        response: usize,
        /// Entries of the mask.
        mask: usize,
        /// Entries that keep their token.
        kept: usize,
    },
    /// One thing for each row was asked for, and another number came.
    #[error("{expected} rows, but {got} entries for them")]
    RowCount {
        /// Rows.
        expected: usize,
        /// Entries.
        got: usize,
    },
    /// A temperature that is not a positive number.
    #[error("temperature {temperature} is not a positive finite number")]
    Temperature {
        /// The value given.
        temperature: f32,
    },
    /// A sequence that does not fit the model's context.
    #[error("row {row} needs {needed} positions, but the model's context has {context}")]
    ContextExceeded {
        /// Index of the row.
        row: usize,
        /// Prompt and response tokens.
        needed: usize,
        /// What the model has.
        context: usize,
    },
    /// A token id outside the vocabulary.
    #[error("row {row} holds token {token}, but the vocabulary has {vocab} tokens")]
    TokenOutOfRange {
        /// Index of the row.
        row: usize,
        /// The offending id.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// An objective reads something that was not requested.
    #[error("the outputs hold no {reading}")]
    MissingReading {
        /// What was looked up.
        reading: Reading,
    },
    /// A loss that no trained weight can change.
    #[error("the loss does not depend on anything that is trained")]
    ConstantLoss,
    /// The model does not serve a role.
    #[error(transparent)]
    Placement(#[from] hydralign_placement::PlacementError),
    /// A scalar role without a head.
    #[error("the {role} has no scalar head")]
    NoHead {
        /// The role that was read.
        role: Role,
    },
    /// Action values of a critic without that action head.
    #[error("the critic has no such action head")]
    NoActionHeads,
    /// A reward function returned the wrong number of scores.
    #[error("the reward returned {got} scores for {expected} episodes")]
    ScoreCount {
        /// Episodes given.
        expected: usize,
        /// Scores returned.
        got: usize,
    },
    /// A score that is not a finite number.
    #[error("the reward of episode {episode} is {score}")]
    ScoreNotFinite {
        /// Index of the episode.
        episode: usize,
        /// The value.
        score: f32,
    },
    /// A reward that gave no usable scores.
    #[error("the reward failed: {0}")]
    Reward(Box<CoreError>),
    /// Any other failure of a model or reward, with its own text.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}
