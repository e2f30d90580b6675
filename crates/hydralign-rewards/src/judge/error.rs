use crate::judge::Scale;
use hydralign_core::CoreError;
use std::time::Duration;
use thiserror::Error;

/// What can be wrong with a judge, its endpoint or its answer.
///
/// `reply` holds at most 200 characters of what came back, and never the API key.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// A setting that cannot be used.
    #[error("`{field}` of the judge {message}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// No connection, or one that broke.
    #[error("{endpoint}: {message}, after {attempts} attempts")]
    Unreachable {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// What the connection said.
        message: String,
    },
    /// No complete answer in time.
    #[error("{endpoint}: no answer within {seconds} s, after {attempts} attempts")]
    TimedOut {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// The time that an attempt has.
        seconds: f64,
    },
    /// A status that is no success.
    #[error(
        "{endpoint}: status {status}, after {attempts} attempts{}: {reply:?}",
        asked(.asked_wait)
    )]
    Status {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// The status of the last attempt.
        status: u16,
        /// The wait that the server asked for.
        asked_wait: Option<Duration>,
        /// What it said.
        reply: String,
    },
    /// An answer with more bytes than allowed.
    #[error("{endpoint}: more than {limit} bytes, after {attempts} attempts")]
    TooLarge {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// The limit, in bytes.
        limit: u64,
    },
    /// An answer that is no chat completion with a text.
    #[error("{endpoint}: no chat completion, after {attempts} attempts: {reply:?}")]
    NotACompletion {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// What came back.
        reply: String,
    },
    /// A text without the JSON that was asked for.
    #[error("{endpoint}: no JSON with scores, after {attempts} attempts: {reply:?}")]
    NotJson {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// What the judge said.
        reply: String,
    },
    /// Too few or too many scores.
    #[error(
        "{endpoint}: {got} scores for {expected} responses, after {attempts} attempts: {reply:?}"
    )]
    WrongCount {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// Responses given.
        expected: usize,
        /// Scores returned.
        got: usize,
        /// What the judge said.
        reply: String,
    },
    /// Something else than a number where a score should be.
    #[error("{endpoint}: score {index} is no number, after {attempts} attempts: {reply:?}")]
    NotANumber {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// Index of the score.
        index: usize,
        /// What the judge said.
        reply: String,
    },
    /// A score outside the scale.
    #[error(
        "{endpoint}: score {index} is {value}, outside {} to {}, after {attempts} attempts: \
         {reply:?}",
        .scale.low, .scale.high
    )]
    OutOfScale {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// Index of the score.
        index: usize,
        /// The score.
        value: f64,
        /// The scale that was stated.
        scale: Scale,
        /// What the judge said.
        reply: String,
    },
    /// A comparison that names none of the two responses, nor a tie.
    #[error("{endpoint}: no verdict between A and B, after {attempts} attempts: {reply:?}")]
    NoVerdict {
        /// Where the judge was asked.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
        /// What the judge said.
        reply: String,
    },
}

impl JudgeError {
    /// Whether another question may be answered: a status that is never tried again is one of
    /// the settings, and so of every question.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            JudgeError::Config { .. } => false,
            JudgeError::Status { status, .. } => is_passing(*status),
            _ => true,
        }
    }
}

/// Whether a status may be another one next time.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

impl From<JudgeError> for CoreError {
    fn from(error: JudgeError) -> Self {
        CoreError::Other(Box::new(error))
    }
}

fn asked(wait: &Option<Duration>) -> String {
    wait.map_or(String::new(), |w| format!(", asked to wait {} s", w.as_secs()))
}
