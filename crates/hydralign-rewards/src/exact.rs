use crate::Answers;
use crate::each::{decode, each, one_if};
use hydralign_core::{CoreError, Episode, Reward};
use hydralign_data::TextTokenizer;

/// Whether a response is its prompt's answer, whitespace around both aside.
///
/// r = 1 if trim(response) = trim(answer), else 0
#[derive(Clone, Debug)]
pub struct ExactMatch<'a> {
    tokenizer: &'a TextTokenizer,
    answers: Answers,
    fold_case: bool,
}

impl<'a> ExactMatch<'a> {
    /// Compares letter by letter.
    pub fn new(tokenizer: &'a TextTokenizer, answers: Answers) -> Self {
        Self { tokenizer, answers, fold_case: false }
    }

    /// Whether `Paris` and `PARIS` are the same: both are compared in Unicode lower case.
    #[must_use]
    pub fn fold_case(mut self, fold_case: bool) -> Self {
        self.fold_case = fold_case;
        self
    }

    fn same(&self, response: &str, answer: &str) -> bool {
        if self.fold_case {
            response.to_lowercase() == answer.to_lowercase()
        } else {
            response == answer
        }
    }
}

impl Reward for ExactMatch<'_> {
    /// # Errors
    /// [`RewardError::Episode`](crate::RewardError::Episode), for example around
    /// [`RewardError::UnknownPrompt`](crate::RewardError::UnknownPrompt).
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        each(episodes, |episode| {
            let answer = self.answers.get(&episode.prompt)?;
            let response = decode(self.tokenizer, &episode.response)?;
            Ok(one_if(self.same(response.trim(), answer)))
        })
    }
}
