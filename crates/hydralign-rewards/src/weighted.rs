use crate::RewardError;
use crate::each::{all_finite, finite};
use hydralign_core::{CoreError, Episode, Reward};

/// A sum of rewards, each with its weight.
///
/// r = Σ_k w_k·r_k
///
/// An error of a part, scores that are too few or too many, and a score that is not finite are
/// reported with the index and the name of the part.
#[derive(Default)]
pub struct WeightedSum<'a> {
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    name: String,
    weight: f32,
    reward: Box<dyn Reward + 'a>,
}

impl<'a> WeightedSum<'a> {
    /// A sum without parts, to add them to.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sum with one more part.
    ///
    /// # Errors
    /// [`RewardError::OutOfRange`] unless the weight is finite. It may be negative.
    pub fn with(
        mut self,
        name: impl Into<String>,
        weight: f32,
        reward: impl Reward + 'a,
    ) -> Result<Self, RewardError> {
        finite("weight", weight)?;
        self.parts.push(Part { name: name.into(), weight, reward: Box::new(reward) });
        Ok(self)
    }
}

impl Part<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let scores = self.reward.score(episodes)?;
        if scores.len() != episodes.len() {
            return Err(CoreError::ScoreCount { expected: episodes.len(), got: scores.len() });
        }
        all_finite(&scores)?;
        Ok(scores)
    }
}

impl Reward for WeightedSum<'_> {
    /// # Errors
    /// [`RewardError::NoParts`], [`RewardError::Part`], and [`CoreError::ScoreNotFinite`] for a
    /// sum beyond `f32`.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        if self.parts.is_empty() {
            return Err(RewardError::NoParts.into());
        }
        let mut sums = vec![0.0; episodes.len()];
        for (index, part) in self.parts.iter().enumerate() {
            let scores = part.score(episodes).map_err(|error| RewardError::Part {
                part: index,
                name: part.name.clone(),
                error: Box::new(error),
            })?;
            for (sum, score) in sums.iter_mut().zip(scores) {
                *sum += f64::from(part.weight) * f64::from(score);
            }
        }
        let scores: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
        all_finite(&scores)?;
        Ok(scores)
    }

    fn finished(&self, episode: &Episode) {
        self.parts.iter().for_each(|part| part.reward.finished(episode));
    }
}
