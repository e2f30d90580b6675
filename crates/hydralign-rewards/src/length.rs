use crate::RewardError;
use hydralign_core::{CoreError, Episode, Reward};

/// Whether a response has a wanted length, in tokens.
///
/// r = max(0, 1 − d/margin), d = how far the length is outside `[min, max]`
///
/// The stop token counts: it is a token of the response. With a margin of 0 every length
/// outside scores 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthReward {
    min: usize,
    max: usize,
    margin: usize,
}

impl LengthReward {
    /// Wants `min` to `max` tokens, and lets the score fall to 0 over `margin` tokens.
    ///
    /// # Errors
    /// [`RewardError::OutOfRange`] if `max` is less than `min`.
    pub fn new(min: usize, max: usize, margin: usize) -> Result<Self, RewardError> {
        if max < min {
            let (value, expected) = (max as f64, "`min` or more");
            return Err(RewardError::OutOfRange { name: "max", value, expected });
        }
        Ok(Self { min, max, margin })
    }

    /// The score of a response with that many tokens.
    pub fn of(&self, tokens: usize) -> f32 {
        let outside = self.min.saturating_sub(tokens).max(tokens.saturating_sub(self.max));
        match outside {
            0 => 1.0,
            _ if outside >= self.margin => 0.0,
            _ => (1.0 - outside as f64 / self.margin as f64) as f32,
        }
    }
}

impl Reward for LengthReward {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        Ok(episodes.iter().map(|e| self.of(e.response.len())).collect())
    }
}
