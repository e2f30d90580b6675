use serde::{Deserialize, Serialize};

/// Why a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// A stop token was sampled; it is the last token of the response.
    Stop,
    /// The length limit was reached without one.
    Length,
}

/// One prompt with one sampled response, ragged and unpadded.
///
/// A stop token that was sampled is a real token of the response: it has log-probabilities,
/// gets the score and is learnt. Nothing after it exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Prompt tokens.
    pub prompt: Vec<u32>,
    /// Which of the prompts that were sampled from it answers, from 0: the row of the data set. None where
    /// that is not known.
    #[serde(default)]
    pub row: Option<usize>,
    /// Sampled tokens, the stop token included.
    pub response: Vec<u32>,
    /// log p of each response token under the distribution it was *sampled from*
    /// (after temperature, top-k, top-p and min-p).
    pub logprobs: Vec<f32>,
    /// log π of each response token at temperature 1 over the whole vocabulary.
    pub policy_logprobs: Vec<f32>,
    /// Why the response ended.
    pub finish: Finish,
}
