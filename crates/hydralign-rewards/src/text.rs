use crate::RewardError;
use crate::each::{decode, each};
use hydralign_core::{CoreError, Episode, IntoScore, Reward};
use hydralign_data::TextTokenizer;

/// Scores one response by its text. Closures that return `f32`, or a result of it with any error, implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot score texts",
    note = "any `Fn(&str, &str) -> f32` or `-> Result<f32, E>` of prompt and response is a `TextReward`"
)]
pub trait TextReward {
    /// The score of a response to a prompt.
    ///
    /// # Errors
    /// What kept the score from being computed.
    fn score(&self, prompt: &str, response: &str) -> Result<f32, RewardError>;
}

impl<F, S> TextReward for F
where
    F: Fn(&str, &str) -> S,
    S: IntoScore<f32>,
{
    fn score(&self, prompt: &str, response: &str) -> Result<f32, RewardError> {
        self(prompt, response).into_score().map_err(RewardError::Other)
    }
}

/// A closure of a prompt's and a response's text as a [`Reward`]. It returns the score, or a result of it with
/// any error.
///
/// ```no_run
/// # let tokenizer = hydralign_data::TextTokenizer::from_dir("policy")?;
/// use hydralign_rewards::reward_fn;
///
/// let polite = reward_fn(&tokenizer, |_prompt, response| f32::from(response.contains("please")));
/// let stated = reward_fn(&tokenizer, |_prompt, response| response.trim().parse::<f32>());
/// # let rewards: [&dyn hydralign_core::Reward; 2] = [&polite, &stated];
/// # Ok::<(), hydralign_data::DataError>(())
/// ```
pub fn reward_fn<F, S>(tokenizer: &TextTokenizer, score: F) -> OfText<'_, F>
where
    F: Fn(&str, &str) -> S,
    S: IntoScore<f32>,
{
    OfText::new(tokenizer, score)
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
