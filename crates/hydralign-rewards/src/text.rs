use crate::RewardError;
use crate::each::{decode, each};
use hydralign_core::{CoreError, Episode, Reward};
use hydralign_data::TextTokenizer;

/// Scores one response by its text. Closures implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot score texts",
    note = "any `Fn(&str, &str) -> f32` of prompt and response is a `TextReward`"
)]
pub trait TextReward {
    /// The score of a response to a prompt.
    ///
    /// # Errors
    /// What kept the score from being computed.
    fn score(&self, prompt: &str, response: &str) -> Result<f32, RewardError>;
}

impl<F: Fn(&str, &str) -> f32> TextReward for F {
    fn score(&self, prompt: &str, response: &str) -> Result<f32, RewardError> {
        Ok(self(prompt, response))
    }
}

/// A [`TextReward`] as a [`Reward`]: decodes prompt and response, special tokens skipped, and
/// scores each pair.
#[derive(Clone, Debug)]
pub struct OfText<'a, R> {
    tokenizer: &'a TextTokenizer,
    reward: R,
}

impl<'a, R: TextReward> OfText<'a, R> {
    /// Scores the texts that the tokenizer decodes.
    pub fn new(tokenizer: &'a TextTokenizer, reward: R) -> Self {
        Self { tokenizer, reward }
    }
}

impl<R: TextReward> Reward for OfText<'_, R> {
    /// # Errors
    /// [`RewardError::Episode`], and [`CoreError::ScoreNotFinite`] for NaN or ±∞.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        each(episodes, |episode| {
            let prompt = decode(self.tokenizer, &episode.prompt)?;
            let response = decode(self.tokenizer, &episode.response)?;
            self.reward.score(&prompt, &response)
        })
    }
}
