use crate::RewardError;
use crate::each::{decode, each};
use hydralign_core::{CoreError, Episode, IntoScore, Reward};
use hydralign_data::{PromptSource, TextTokenizer};
use serde_json::{Map, Value};

/// A closure of texts and of the row that the prompt was read from as a [`Reward`]: [`row_reward_fn`].
#[derive(Clone, Debug)]
pub struct OfRow<'a, F> {
    tokenizer: &'a TextTokenizer,
    prompts: &'a [PromptSource],
    score: F,
}

/// Makes a [`Reward`] of a closure of a prompt's text, a response's text, and the columns of the prompt's row as
/// its file has them. It returns the score, or a result of it with any error.
///
/// `prompts` are those that are sampled from, in their order: an episode says by its row which of them it answers.
///
/// ```no_run
/// # use hydralign_data::{Reader, TextTokenizer};
/// use hydralign_rewards::row_reward_fn;
///
/// # let tokenizer = TextTokenizer::from_dir("policy")?;
/// let (prompts, _) = Reader::new(&tokenizer, 2048).prompt_sources(&["questions.jsonl"])?;
/// let right = row_reward_fn(&tokenizer, &prompts, |_prompt, response, row| {
///     f32::from(row["answer"].as_str() == Some(response.trim()))
/// });
/// # let right: &dyn hydralign_core::Reward = &right;
/// # Ok::<(), hydralign_data::DataError>(())
/// ```
pub fn row_reward_fn<'a, F, S>(
    tokenizer: &'a TextTokenizer,
    prompts: &'a [PromptSource],
    score: F,
) -> OfRow<'a, F>
where
    F: Fn(&str, &str, &Map<String, Value>) -> S,
    S: IntoScore<f32>,
{
    OfRow { tokenizer, prompts, score }
}

impl<F> OfRow<'_, F> {
    fn columns(&self, episode: &Episode) -> Result<&Map<String, Value>, RewardError> {
        let row = episode.row.ok_or(RewardError::NoRow)?;
        match self.prompts.get(row).filter(|prompt| prompt.tokens == episode.prompt) {
            Some(prompt) => Ok(&prompt.columns),
            None => Err(RewardError::OtherPrompt { row }),
        }
    }
}

impl<F, S> Reward for OfRow<'_, F>
where
    F: Fn(&str, &str, &Map<String, Value>) -> S,
    S: IntoScore<f32>,
{
    /// # Errors
    /// [`RewardError::Episode`], for example around [`RewardError::OtherPrompt`], and
    /// [`CoreError::ScoreNotFinite`] for NaN or ±∞.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        each(episodes, |episode| {
            let columns = self.columns(episode)?;
            let prompt = decode(self.tokenizer, &episode.prompt)?;
            let response = decode(self.tokenizer, &episode.response)?;
            let score = (self.score)(&prompt, &response, columns);
            score.into_score().map_err(RewardError::Other)
        })
    }
}
