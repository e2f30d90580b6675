use crate::each::finite;
use crate::pattern::{Reading, compile};
use crate::{RewardError, TextReward};
use regex::Regex;

/// One score for responses in which a regular expression matches somewhere, another for the rest.
#[derive(Clone, Debug)]
pub struct Matches {
    regex: Regex,
    found: f32,
    missing: f32,
}

impl Matches {
    /// `found` where the pattern matches, `missing` where it does not.
    ///
    /// # Errors
    /// [`RewardError::Pattern`] for a pattern that does not compile within 1 MiB,
    /// [`RewardError::OutOfRange`] unless both scores are finite.
    pub fn new(pattern: &str, found: f32, missing: f32) -> Result<Self, RewardError> {
        finite("found", found)?;
        finite("missing", missing)?;
        Ok(Self { regex: compile(pattern, Reading::Search)?, found, missing })
    }
}

impl TextReward for Matches {
    fn score(&self, _prompt: &str, response: &str) -> Result<f32, RewardError> {
        Ok(if self.regex.is_match(response) { self.found } else { self.missing })
    }
}
