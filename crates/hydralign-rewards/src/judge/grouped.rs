use crate::each::decode;
use crate::judge::Judge;
use hydralign_core::{CoreError, Episode, Reward};
use hydralign_data::TextTokenizer;

/// A [`Judge`] as a [`Reward`]: consecutive episodes with the same prompt are judged together.
#[derive(Clone, Copy, Debug)]
pub struct JudgeReward<'a> {
    tokenizer: &'a TextTokenizer,
    judge: &'a Judge,
}

impl<'a> JudgeReward<'a> {
    /// Judges the texts that the tokenizer decodes, special tokens skipped.
    pub fn new(tokenizer: &'a TextTokenizer, judge: &'a Judge) -> Self {
        Self { tokenizer, judge }
    }

    fn group(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let text = |tokens: &[u32]| decode(self.tokenizer, tokens);
        let prompt = episodes.first().map_or(Ok(String::new()), |e| text(&e.prompt))?;
        let responses =
            episodes.iter().map(|e| text(&e.response)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.judge.score(&prompt, &responses)?)
    }
}

impl Reward for JudgeReward<'_> {
    /// # Errors
    /// A [`JudgeError`](crate::judge::JudgeError), or
    /// [`RewardError::Decode`](crate::RewardError::Decode).
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let mut scores = Vec::with_capacity(episodes.len());
        for group in episodes.chunk_by(|a, b| a.prompt == b.prompt) {
            scores.extend(self.group(group)?);
        }
        Ok(scores)
    }
}
