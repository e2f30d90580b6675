use crate::named::named;
use crate::{TrainError, Values};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What stands before the names of what an evaluation measures.
pub(crate) const PREFIX: &str = "eval_";

/// Which values of a number are the better ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Smaller ones, as of a loss.
    Less,
    /// Larger ones, as of a score.
    More,
}

named!(Better, "less" => Less, "more" => More);

impl Better {
    /// What is known of a name: losses, likelihoods, perplexities and divergences are to fall; accuracies, margins,
    /// scores and rewards are to rise.
    pub fn of(metric: &str) -> Option<Self> {
        let ends = |ends: &[&str]| ends.iter().any(|end| metric.ends_with(end));
        if ends(&["loss", "nll", "perplexity", "kl"]) {
            return Some(Self::Less);
        }
        ends(&["accuracy", "margin", "score", "reward"]).then_some(Self::More)
    }

    /// By how much `value` is better than `other`; below 0 if it is worse.
    fn lead(self, value: f64, other: f64) -> f64 {
        match self {
            Self::Less => other - value,
            Self::More => value - other,
        }
    }
}

/// Which checkpoint is the best, and when there is no use in going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestBy {
    /// The number that decides, one that the evaluation measures; `eval_` before its name may be left out.
    pub metric: String,
    /// Which values of it are better.
    pub better: Better,
    /// Ends the training after so many evaluations in a row that were not better (early stopping); none never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// An evaluation counts as better for the patience if it leads by more than this over the last that did, as in
    /// Lightning's `EarlyStopping`.
    #[serde(default)]
    pub min_change: f64,
}

impl BestBy {
    /// The best by a number whose better values are known by its name, without early stopping.
    ///
    /// # Errors
    /// [`TrainError::NoDirection`].
    pub fn new(metric: &str) -> Result<Self, TrainError> {
        let better = Better::of(metric);
        let better = better.ok_or_else(|| TrainError::NoDirection { metric: metric.into() })?;
        Ok(Self { metric: metric.into(), better, patience: None, min_change: 0.0 })
    }

    /// The name under which the number is reported.
    pub fn reported(&self) -> String {
        match self.metric.starts_with(PREFIX) {
            true => self.metric.clone(),
            false => format!("{PREFIX}{}", self.metric),
        }
    }

    /// Looks at what an evaluation has measured. True if it is the best so far: NaN never is.
    ///
    /// # Errors
    /// [`TrainError::NoMetric`] names what there is.
    pub(crate) fn look(
        &self,
        step: usize,
        measured: &Values,
        state: &mut Option<BestState>,
    ) -> Result<bool, TrainError> {
        let name = self.reported();
        let Some((_, value)) = measured.iter().find(|(n, _)| *n == name) else {
            let there = measured.iter().map(|(name, _)| name.clone()).collect();
            return Err(TrainError::NoMetric { metric: self.metric.clone(), there });
        };
        let value = *value;
        let Some(best) = state else {
            if !value.is_nan() {
                *state = Some(BestState { step, value, mark: value, stale: 0 });
            }
            return Ok(!value.is_nan());
        };
        best.stale += 1;
        if self.better.lead(value, best.mark) > self.min_change {
            (best.mark, best.stale) = (value, 0);
        }
        let is_best = self.better.lead(value, best.value) > 0.0;
        if is_best {
            (best.step, best.value) = (step, value);
        }
        Ok(is_best)
    }

    /// Whether the patience has come to its end.
    pub(crate) fn is_over(&self, state: Option<&BestState>) -> bool {
        match (self.patience, state) {
            (Some(patience), Some(best)) => best.stale >= patience.max(1),
            _ => false,
        }
    }
}

/// The best so far, and how long ago there was a better one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestState {
    /// Step of the best.
    pub step: usize,
    /// Its value.
    pub value: f64,
    /// Value of the last that counted as better for the patience.
    pub mark: f64,
    /// Evaluations since then.
    pub stale: usize,
}

/// The best of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// What it is the best by.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// After which step.
    pub step: usize,
    /// Its checkpoint; none where none are kept.
    pub checkpoint: Option<PathBuf>,
}
