use crate::each::one_if;
use crate::pattern::{Reading, compile};
use crate::{RewardError, TextReward};
use regex::Regex;

/// Whether the *whole* response has a form, as `<think>.*</think>\s*<answer>.*</answer>`.
///
/// r = 1 if the pattern matches from the first character to the last, else 0
///
/// Source: the format reward of DeepSeek-R1 (Guo et al. 2025, §2.2.2). `.` matches line breaks,
/// since thoughts have several lines; nothing is trimmed, so a pattern says `\s*` where
/// whitespace may be.
#[derive(Clone, Debug)]
pub struct Format {
    regex: Regex,
}

impl Format {
    /// Requires a form.
    ///
    /// # Errors
    /// [`RewardError::Pattern`] for a pattern that does not compile within 1 MiB.
    pub fn new(pattern: &str) -> Result<Self, RewardError> {
        Ok(Self { regex: compile(pattern, Reading::Whole)? })
    }
}

impl TextReward for Format {
    fn score(&self, _prompt: &str, response: &str) -> Result<f32, RewardError> {
        Ok(one_if(self.regex.is_match(response)))
    }
}
