use crate::AdvantageError;
use serde::{Deserialize, Serialize};

/// DAPO's soft punishment of overlong responses, added to the score.
///
/// | length L              | punishment        |
/// |-----------------------|-------------------|
/// | L ≤ max − cache       | 0                 |
/// | max − cache < L ≤ max | (max − cache − L)/cache |
/// | max < L               | −1                |
///
/// Source: Yu et al. 2025, "DAPO", eq. 13 (max 20480 and cache 4096 tokens there).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlongPenalty {
    /// Longest response without the full punishment, in tokens.
    pub max: usize,
    /// Length over which the punishment grows from 0 to −1, in tokens.
    pub cache: usize,
}

impl OverlongPenalty {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`AdvantageError::OutOfRange`] unless 1 ≤ cache ≤ max.
    pub fn validate(&self) -> Result<(), AdvantageError> {
        if (1..=self.max).contains(&self.cache) {
            return Ok(());
        }
        let expected = "at least 1 and at most `max`";
        Err(AdvantageError::OutOfRange { name: "cache", value: self.cache as f64, expected })
    }

    /// The punishment of a response of that many tokens, from 0 to −1.
    ///
    /// # Errors
    /// As [`OverlongPenalty::validate`].
    pub fn of(&self, length: usize) -> Result<f32, AdvantageError> {
        self.validate()?;
        let over = length.saturating_sub(self.max - self.cache).min(self.cache);
        Ok(-(over as f32) / self.cache as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_over_the_cache_and_no_further() {
        let penalty = OverlongPenalty { max: 20, cache: 4 };
        let table = [(0, 0.0), (16, 0.0), (17, -0.25), (19, -0.75), (20, -1.0), (99, -1.0)];
        for (length, want) in table {
            assert_eq!(penalty.of(length).unwrap(), want, "{length}");
        }
    }

    #[test]
    fn contradictory_settings_are_refused() {
        for (max, cache) in [(4, 5), (4, 0), (0, 0)] {
            assert!(OverlongPenalty { max, cache }.of(3).is_err());
        }
        assert_eq!(OverlongPenalty { max: 4, cache: 4 }.of(1).unwrap(), -0.25);
    }
}
