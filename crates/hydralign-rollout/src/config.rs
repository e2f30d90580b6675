use crate::{Key, RolloutError};
use serde::{Deserialize, Serialize};

/// A prompt and the name of the random numbers that its response is drawn with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Prompt tokens, without padding; at least one.
    pub tokens: Vec<u32>,
    /// Which of the prompts that are sampled from it is, from 0: [`Episode::row`](hydralign_core::Episode::row).
    pub row: Option<usize>,
    /// Names the random numbers. Equal keys draw equal numbers.
    pub key: Key,
}

/// When responses end and how many are generated at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// Longest response, the stop token included.
    pub max_new_tokens: usize,
    /// Prompt and response together have at most so many tokens: the context of the model. A prompt that
    /// leaves less room than `max_new_tokens` gets as much as there is, whatever its neighbours in a
    /// batch. None: a prompt without room for `max_new_tokens` is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Tokens that a response has before its stop token at least. Until then stop tokens have
    /// probability zero in the distribution that is sampled from.
    pub min_new_tokens: usize,
    /// Tokens that end a response. None: every response has the maximal length.
    pub stop_tokens: Vec<u32>,
    /// Prompts that are decoded together. It changes memory and speed, not what is sampled.
    pub batch_size: usize,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            max_length: None,
            min_new_tokens: 0,
            stop_tokens: Vec::new(),
            batch_size: 16,
        }
    }
}

impl GenerationConfig {
    /// Checks the settings among themselves.
    ///
    /// # Errors
    /// [`RolloutError::Zero`] for a maximal length or a batch size of 0,
    /// [`RolloutError::MinAboveMax`].
    pub fn validate(&self) -> Result<(), RolloutError> {
        let counts = [("max_new_tokens", self.max_new_tokens), ("batch_size", self.batch_size)];
        for (field, count) in counts {
            if count == 0 {
                return Err(RolloutError::Zero { field });
            }
        }
        let (min, max) = (self.min_new_tokens, self.max_new_tokens);
        if min > max {
            return Err(RolloutError::MinAboveMax { min, max });
        }
        Ok(())
    }

    /// Longest response to a prompt of so many tokens.
    pub(crate) fn room(&self, prompt: usize) -> usize {
        let left = self.max_length.map_or(usize::MAX, |all| all.saturating_sub(prompt));
        self.max_new_tokens.min(left)
    }

    /// Checks that the vocabulary holds every stop token.
    pub(crate) fn validate_stop_tokens(&self, vocab: usize) -> Result<(), RolloutError> {
        match self.stop_tokens.iter().find(|&&t| t as usize >= vocab) {
            Some(&token) => Err(RolloutError::StopToken { token, vocab }),
            None => Ok(()),
        }
    }

    /// The tokens that may not be drawn at this position of the response.
    pub(crate) fn suppressed(&self, position: usize) -> &[u32] {
        if position < self.min_new_tokens { &self.stop_tokens } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_settings_are_refused() {
        let good = GenerationConfig { min_new_tokens: 64, ..GenerationConfig::default() };
        assert!(good.validate().is_ok());
        let bad = GenerationConfig { max_new_tokens: 0, ..good.clone() };
        assert!(matches!(bad.validate(), Err(RolloutError::Zero { field: "max_new_tokens" })));
        let bad = GenerationConfig { batch_size: 0, ..good.clone() };
        assert!(matches!(bad.validate(), Err(RolloutError::Zero { field: "batch_size" })));
        let bad = GenerationConfig { max_new_tokens: 63, ..good };
        assert!(matches!(bad.validate(), Err(RolloutError::MinAboveMax { min: 64, max: 63 })));
    }

    #[test]
    fn unknown_settings_are_refused() {
        let read = serde_json::from_str::<GenerationConfig>;
        assert_eq!(read("{}").unwrap(), GenerationConfig::default());
        assert!(read(r#"{"max_tokens": 3}"#).is_err());
    }
}
