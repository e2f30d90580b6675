use crate::AlgorithmError;
use crate::settings::{check, check_counts, check_not_negative, check_positive};
use hydralign_advantage::{KlControl, RewardShaping, ScoreNormalisation};
use serde::{Deserialize, Serialize};

/// Settings of PPO. Defaults are those of Huang et al. 2024 ("N+ implementation details") where
/// they name one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Passes over each rollout.
    pub epochs: usize,
    /// Minibatches per pass; each is one optimizer step.
    pub minibatches: usize,
    /// Episodes that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Episodes that are read without a graph at a time.
    pub score_batch: usize,
    /// ε below 1: the ratio is clipped to [1 − ε, 1 + ε_high].
    pub clip_range: f64,
    /// ε above 1; the same as `clip_range` if absent.
    pub clip_range_high: Option<f64>,
    /// Bound on the change of a value estimate; none leaves values unclipped.
    pub value_clip: Option<f64>,
    /// c_v, the weight of the value loss.
    pub value_coef: f64,
    /// c_e, the weight of the entropy bonus.
    pub entropy_coef: f64,
    /// γ.
    pub gamma: f64,
    /// λ of generalised advantage estimation.
    pub lambda: f64,
    /// β: fixed, or steered towards a target.
    pub kl: KlControl,
    /// KL estimator, score clipping and missing-stop penalty.
    pub shaping: RewardShaping,
    /// Normalisation of the scores before they are clipped.
    pub score_normalisation: ScoreNormalisation,
    /// Divide rewards by their standard deviation over the batch, keeping the mean.
    pub whiten_rewards: bool,
    /// Normalise advantages to mean 0 and variance 1 over the real tokens of the batch.
    pub whiten_advantages: bool,
    /// Stop updating on a rollout once the estimated KL from the sampling policy exceeds this.
    pub target_kl: Option<f64>,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            epochs: 4,
            minibatches: 1,
            micro_batch: 16,
            score_batch: 64,
            clip_range: 0.2,
            clip_range_high: None,
            value_clip: Some(0.2),
            value_coef: 0.1,
            entropy_coef: 0.0,
            gamma: 1.0,
            lambda: 0.95,
            kl: KlControl::default(),
            shaping: RewardShaping::default(),
            score_normalisation: ScoreNormalisation::default(),
            whiten_rewards: false,
            whiten_advantages: true,
            target_kl: None,
        }
    }
}

impl PpoConfig {
    /// Checks every setting that is not checked where it is used.
    ///
    /// # Errors
    /// [`AlgorithmError::Setting`] or the advantage crate's own error, naming the setting.
    pub fn validate(&self) -> Result<(), AlgorithmError> {
        let counts = [
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("micro_batch", self.micro_batch),
            ("score_batch", self.score_batch),
        ];
        check_counts(&counts)?;
        check(in_unit(self.clip_range), "clip_range", self.clip_range, "in (0, 1)")?;
        let positive = [
            ("clip_range_high", self.clip_range_high),
            ("value_clip", self.value_clip),
            ("target_kl", self.target_kl),
        ];
        for (field, value) in positive {
            check_positive(field, value.unwrap_or(1.0))?;
        }
        for (field, value) in [("value_coef", self.value_coef), ("entropy_coef", self.entropy_coef)]
        {
            check_not_negative(field, value)?;
        }
        for (field, value) in [("gamma", self.gamma), ("lambda", self.lambda)] {
            check((0.0..=1.0).contains(&value), field, value, "between 0 and 1")?;
        }
        self.kl.controller()?;
        Ok(self.shaping.validate()?)
    }
}

fn in_unit(value: f64) -> bool {
    value > 0.0 && value < 1.0
}
