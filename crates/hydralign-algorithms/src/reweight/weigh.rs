use super::WeightedSequence;
use crate::AlgorithmError;
use hydralign_advantage::{Normaliser, Weighting, effective_sample_size, temperature_for_ess};
use hydralign_core::{CoreError, Sequence};
use serde::{Deserialize, Serialize};

/// β: given, or chosen so that the weights keep their breadth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Temperature {
    /// β, in units of the score.
    Fixed {
        /// The value.
        beta: f64,
    },
    /// The β at which the mean effective sample size is this share of N; values in 0.3 … 0.7 keep
    /// the weights from resting on single responses.
    TargetEss {
        /// Between 0 and 1.
        share: f64,
    },
}

/// Exponential weights for groups of responses. The constructors are the published methods:
/// [`spr`](Self::spr), [`awr`](Self::awr), [`rwr`](Self::rwr).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reweighting {
    /// β.
    pub temperature: Temperature,
    /// W: what a score is compared with.
    pub normaliser: Normaliser,
    /// Largest weight.
    pub clip: Option<f64>,
    /// Bring the scores to mean 0 and variance 1 over the batch first.
    pub standardise: bool,
}

/// Weighted responses, and how the weights came out.
#[derive(Clone, Debug)]
pub struct Reweighted {
    /// Every response with its weight, group by group.
    pub rows: Vec<WeightedSequence>,
    /// β that was used.
    pub temperature: f64,
    /// Mean over the groups of ESS/N.
    pub ess: f64,
    /// Share of the weights that were clipped.
    pub clipped: f64,
    /// Mean weight.
    pub mean_weight: f64,
}

impl Reweighting {
    /// Weighs groups of responses by their scores. A group holds responses to one prompt; sampled
    /// ones and those of a data set may be mixed, each group for itself.
    ///
    /// `values` are W of each group where a model has learnt it (see [`Linex`](super::Linex)); without,
    /// they are estimated from the group.
    ///
    /// # Errors
    /// [`AlgorithmError::Advantage`] for scores that are not finite, groups that are too small and
    /// settings out of range; [`CoreError::ScoreCount`] where scores or values do not match the
    /// groups.
    pub fn weigh(
        &self,
        groups: &[Vec<Sequence>],
        scores: &[Vec<f32>],
        values: Option<&[f64]>,
    ) -> Result<Reweighted, AlgorithmError> {
        check_counts(groups, scores, values)?;
        let scores = self.standardised(scores)?;
        let temperature = match self.temperature {
            Temperature::Fixed { beta } => beta,
            Temperature::TargetEss { share } => temperature_for_ess(&scores, share)?,
        };
        let Self { normaliser, clip, .. } = *self;
        let weighting = Weighting { temperature, normaliser, clip };
        let mut weights = Vec::new();
        for (i, scores) in scores.iter().enumerate() {
            weights.push(match values {
                Some(values) => weighting.against(scores, &vec![values[i]; scores.len()])?,
                None => weighting.weights(scores)?,
            });
        }
        let shares = weights.iter().map(|w| effective_sample_size(w) / w.len() as f64);
        let ess = shares.sum::<f64>() / weights.len() as f64;
        let all = weights.concat();
        let at_clip = |w: &&f32| clip.is_some_and(|c| f64::from(**w) >= c * (1.0 - 1e-6));
        let clipped = all.iter().filter(at_clip).count() as f64 / all.len() as f64;
        let mean_weight = all.iter().map(|&w| f64::from(w)).sum::<f64>() / all.len() as f64;
        let sequences = groups.iter().flatten().cloned();
        let rows = sequences.zip(all).map(|(s, w)| WeightedSequence::uniform(s, w)).collect();
        Ok(Reweighted { rows, temperature, ess, clipped, mean_weight })
    }

    fn standardised(&self, scores: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, AlgorithmError> {
        let mut scores = scores.to_vec();
        if self.standardise {
            hydralign_advantage::whiten(&mut scores, true, hydralign_advantage::Variance::Biased)?;
        }
        Ok(scores)
    }
}

fn check_counts(
    groups: &[Vec<Sequence>],
    scores: &[Vec<f32>],
    values: Option<&[f64]>,
) -> Result<(), AlgorithmError> {
    if groups.is_empty() {
        return Err(AlgorithmError::Empty { what: "groups" });
    }
    let count = |expected, got| match expected == got {
        true => Ok(()),
        false => Err(CoreError::ScoreCount { expected, got }),
    };
    count(groups.len(), scores.len())?;
    count(groups.len(), values.map_or(groups.len(), <[f64]>::len))?;
    groups.iter().zip(scores).try_for_each(|(g, s)| count(g.len(), s.len()))?;
    Ok(())
}
