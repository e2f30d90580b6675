use crate::answers::unknown;
use crate::each::{decode, each, one_if};
use crate::{Answers, Number, RewardError};
use hydralign_core::{CoreError, Episode, Reward};
use hydralign_data::TextTokenizer;
use std::collections::HashMap;

/// Whether the number that a response ends in is the one of its prompt's answer.
///
/// r = 1 if |[`Number::of`]\(response) − answer| ≤ tolerance, else 0
///
/// A response without a number scores 0.
///
/// Source: the check of GSM8K (Cobbe et al. 2021), with `#### 42` in the answer and the response.
/// Departures: `\boxed{42}` is a mark too, a response without a mark is not wrong but read by
/// its last number, and numbers are compared by value instead of by spelling.
#[derive(Clone, Debug)]
pub struct NumericAnswer<'a> {
    tokenizer: &'a TextTokenizer,
    answers: HashMap<Vec<u32>, Number>,
    tolerance: f64,
}

impl<'a> NumericAnswer<'a> {
    /// Compares with the numbers that the answers end in, whole solutions of GSM8K included.
    ///
    /// # Errors
    /// [`RewardError::NotANumber`] for an answer without a number, [`RewardError::OutOfRange`]
    /// unless the tolerance is finite and not negative.
    pub fn new(
        tokenizer: &'a TextTokenizer,
        answers: &Answers,
        tolerance: f64,
    ) -> Result<Self, RewardError> {
        if !tolerance.is_finite() || tolerance < 0.0 {
            let expected = "finite and not negative";
            return Err(RewardError::OutOfRange { name: "tolerance", value: tolerance, expected });
        }
        let numbers = answers.iter().map(|(prompt, answer)| {
            let number = Number::of(answer).ok_or_else(|| RewardError::NotANumber {
                prompt: prompt.clone(),
                answer: answer.to_owned(),
            })?;
            Ok((prompt.clone(), number))
        });
        let answers = numbers.collect::<Result<_, RewardError>>()?;
        Ok(Self { tokenizer, answers, tolerance })
    }
}

impl Reward for NumericAnswer<'_> {
    /// # Errors
    /// [`RewardError::Episode`], for example around [`RewardError::UnknownPrompt`].
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        each(episodes, |episode| {
            let prompt = &episode.prompt;
            let answer = self.answers.get(prompt).ok_or_else(|| unknown(prompt))?;
            let response = decode(self.tokenizer, &episode.response)?;
            let number = Number::of(&response);
            Ok(one_if(number.is_some_and(|number| number.equals(answer, self.tolerance))))
        })
    }
}
