use hydralign_core::CoreError;
use thiserror::Error;

/// Why no token could be drawn from a row of logits.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A row without logits.
    #[error("there are no logits")]
    Empty,
    /// A logit that is NaN or +∞.
    #[error("the logit of token {token} is {logit}")]
    NotFinite {
        /// Index in the vocabulary.
        token: usize,
        /// The value.
        logit: f32,
    },
    /// Every token has probability zero.
    #[error("no token is left to draw: {suppressed} are suppressed and all others are at -inf")]
    NothingLeft {
        /// Number of suppressed tokens.
        suppressed: usize,
    },
    /// A suppressed token outside the vocabulary.
    #[error("token {token} is suppressed, but the vocabulary has {vocab} tokens")]
    Suppressed {
        /// The offending id.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A random number outside [0, 1).
    #[error("the uniform number {uniform} is not in [0, 1)")]
    Uniform {
        /// The value given.
        uniform: f64,
    },
}

/// Why no responses could be generated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// A sampler setting that is out of range.
    #[error("{field} is {value}, but must be {range}")]
    SamplerSetting {
        /// Name of the setting.
        field: &'static str,
        /// The value given.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// A prompt that fills the longest sequence.
    #[error(
        "prompt {prompt} has {tokens} tokens, which leaves no room for a response in {max_length}"
    )]
    NoRoom {
        /// Index of the prompt.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens that prompt and response may have together.
        max_length: usize,
    },
    /// A count of the generation settings that must not be zero.
    #[error("{field} must be at least 1")]
    Zero {
        /// Name of the setting.
        field: &'static str,
    },
    /// A lower limit on the length above the upper one.
    #[error("min_new_tokens {min} is more than max_new_tokens {max}")]
    MinAboveMax {
        /// `min_new_tokens`.
        min: usize,
        /// `max_new_tokens`.
        max: usize,
    },
    /// An empty list of prompts.
    #[error("there are no prompts")]
    NoPrompts,
    /// A prompt without tokens.
    #[error("prompt {prompt} is empty")]
    EmptyPrompt {
        /// Index of the prompt.
        prompt: usize,
    },
    /// A stop token that the model can never sample.
    #[error("stop token {token} is outside the vocabulary of {vocab} tokens")]
    StopToken {
        /// The offending id.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// Logits with an unexpected number of rows.
    #[error("the decoder returned logits for {got} rows, but {expected} are decoded")]
    LogitRows {
        /// Rows fed.
        expected: usize,
        /// Rows returned.
        got: usize,
    },
    /// No token could be drawn.
    #[error("prompt {prompt}, response position {position}")]
    Sample {
        /// Index of the prompt.
        prompt: usize,
        /// Position within the response, from 0.
        position: usize,
        /// What was wrong with the logits.
        source: SampleError,
    },
    /// The monitor asked to stop.
    #[error("generation was cancelled with {finished} of {prompts} responses finished")]
    Cancelled {
        /// Responses that were complete.
        finished: usize,
        /// Responses that were asked for.
        prompts: usize,
    },
    /// The decoder failed.
    #[error(transparent)]
    Decoder(#[from] CoreError),
}
