use crate::RewardError;
use std::collections::HashMap;

/// The right answer of each prompt.
///
/// Answers are kept without the whitespace around them. Keys are the tokens of a prompt exactly
/// as the episodes hold them, with a BOS where the tokenizer adds one: see
/// [`hydralign_data::encode_prompt`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    by_prompt: HashMap<Vec<u32>, String>,
}

impl Answers {
    /// Answers from pairs of prompt tokens and text.
    ///
    /// A prompt may come twice if its answer is the same.
    ///
    /// # Errors
    /// [`RewardError::Contradiction`] for two answers to one prompt, [`RewardError::EmptyAnswer`].
    pub fn from_pairs<P, A>(pairs: impl IntoIterator<Item = (P, A)>) -> Result<Self, RewardError>
    where
        P: Into<Vec<u32>>,
        A: AsRef<str>,
    {
        let mut answers = Self::default();
        for (prompt, answer) in pairs {
            answers.add(prompt.into(), answer.as_ref().trim())?;
        }
        Ok(answers)
    }

    fn add(&mut self, prompt: Vec<u32>, answer: &str) -> Result<(), RewardError> {
        if answer.is_empty() {
            return Err(RewardError::EmptyAnswer { prompt });
        }
        match self.by_prompt.get(&prompt) {
            Some(first) if first != answer => {
                let (first, second) = (first.clone(), answer.to_owned());
                Err(RewardError::Contradiction { prompt, first, second })
            }
            Some(_) => Ok(()),
            None => {
                self.by_prompt.insert(prompt, answer.to_owned());
                Ok(())
            }
        }
    }

    /// The answer to a prompt.
    ///
    /// # Errors
    /// [`RewardError::UnknownPrompt`].
    pub fn get(&self, prompt: &[u32]) -> Result<&str, RewardError> {
        let answer = self.by_prompt.get(prompt);
        answer.map(String::as_str).ok_or_else(|| unknown(prompt))
    }

    /// How many prompts have an answer.
    pub fn len(&self) -> usize {
        self.by_prompt.len()
    }

    /// Whether no prompt has an answer.
    pub fn is_empty(&self) -> bool {
        self.by_prompt.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<u32>, &str)> {
        self.by_prompt.iter().map(|(prompt, answer)| (prompt, answer.as_str()))
    }
}

pub(crate) fn unknown(prompt: &[u32]) -> RewardError {
    RewardError::UnknownPrompt { prompt: prompt.to_vec() }
}
