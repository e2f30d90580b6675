use hydralign_core::CoreError;
use hydralign_data::DataError;
use thiserror::Error;

/// What can be wrong with a reward's settings, or keep it from scoring.
///
/// Each message is complete: causes are fields, not `source()`s, so that a printed chain does
/// not say them twice.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RewardError {
    /// A prompt without an answer.
    #[error("no answer is known for {}", prompt_start(.prompt))]
    UnknownPrompt {
        /// Tokens of the prompt.
        prompt: Vec<u32>,
    },
    /// Two different answers to one prompt.
    #[error("two answers to {}: {first:?} and {second:?}", prompt_start(.prompt))]
    Contradiction {
        /// Tokens of the prompt.
        prompt: Vec<u32>,
        /// The answer that came first.
        first: String,
        /// The other one.
        second: String,
    },
    /// An answer without text, which an empty response would match.
    #[error("the answer is empty for {}", prompt_start(.prompt))]
    EmptyAnswer {
        /// Tokens of the prompt.
        prompt: Vec<u32>,
    },
    /// An answer that should be a number and is none.
    #[error("the answer {answer:?} holds no number, for {}", prompt_start(.prompt))]
    NotANumber {
        /// Tokens of the prompt.
        prompt: Vec<u32>,
        /// The answer.
        answer: String,
    },
    /// A regular expression that does not compile, or needs too much memory.
    #[error("the pattern {pattern:?} is refused: {message}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What the library said.
        message: String,
    },
    /// A setting outside of its range.
    #[error("{name} is {value}, but must be {expected}")]
    OutOfRange {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// Tokens that the tokenizer cannot decode.
    #[error("{error}")]
    Decode {
        /// What the tokenizer said.
        error: DataError,
    },
    /// A conversation for a reward model that has no template.
    #[error(
        "a prompt is a conversation, but the reward model has no chat template (`chat_template`) to render it"
    )]
    NoTemplate,
    /// A begun turn of the assistant that is not a text.
    #[error("the turn that the assistant continues is not a text")]
    NotText,
    /// A conversation that the reward model's template does not render.
    #[error("the reward model's template: {message}")]
    Chat {
        /// What it said.
        message: String,
    },
    /// A special token of the policy that would be read as plain text.
    #[error(
        "a prompt spells `{token}`, a special token of the policy that means nothing to the reward model: give the conversation as messages"
    )]
    ForeignToken {
        /// How it is spelt.
        token: String,
    },
    /// An episode that does not say which prompt it answers.
    #[error("it does not say which row of the prompts it answers")]
    NoRow,
    /// An episode whose prompt is not that of the row that it names.
    #[error(
        "its prompt is not that of row {row} (from 0): the reward was given other prompts than those that are sampled from"
    )]
    OtherPrompt {
        /// The row that it names.
        row: usize,
    },
    /// An episode that could not be scored.
    #[error("episode {episode}: {error}")]
    Episode {
        /// Index of the episode.
        episode: usize,
        /// Why not.
        error: Box<RewardError>,
    },
    /// A weighted sum without parts.
    #[error("the weighted sum has no parts")]
    NoParts,
    /// A part of a weighted sum that failed.
    #[error("part {part} ({name}) of the weighted sum: {error}")]
    Part {
        /// Index of the part.
        part: usize,
        /// Its name.
        name: String,
        /// What it reported, or what is wrong with its scores.
        error: Box<CoreError>,
    },
    /// Any other failure of a program or a scoring closure, with its own text.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl From<RewardError> for CoreError {
    fn from(error: RewardError) -> Self {
        CoreError::Other(Box::new(error))
    }
}

/// A prompt may have thousands of tokens; its length and its first ones tell it from others.
fn prompt_start(prompt: &[u32]) -> String {
    const SHOWN: usize = 8;
    let first: Vec<String> = prompt.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if prompt.len() > SHOWN { ", …" } else { "" };
    format!("the prompt of {} tokens [{}{more}]", prompt.len(), first.join(", "))
}
