use super::{Aggregation, CreditRule, RatioLevel, Surrogate};
use crate::AlgorithmError;
use crate::settings::{check, check_counts, check_not_negative, check_positive};
use hydralign_advantage::{OverlongPenalty, RewardShaping};
use serde::{Deserialize, Serialize};

/// A KL penalty that is part of the loss rather than of the reward.
///
/// c·k3, k3 = exp(log π_ref − log π) − 1 − (log π_ref − log π), at each sampled token
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KlInLoss {
    /// c; 0 switches it off, and then the reference is not read for it.
    pub coef: f64,
    /// Multiply by the ratio π/π_old, which makes the estimate unbiased where the tokens are of an
    /// older policy (DeepSeek-V3.2; TRL `use_bias_correction_kl`).
    pub corrected: bool,
}

/// Settings of a policy gradient without a critic. The constructors are the published methods:
/// [`grpo`](Self::grpo), [`dr_grpo`](Self::dr_grpo), [`dapo`](Self::dapo), [`gspo`](Self::gspo),
/// [`rloo`](Self::rloo), [`reinforce_pp`](Self::reinforce_pp), [`remax`](Self::remax).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriticFreeConfig {
    /// Passes over each rollout.
    pub epochs: usize,
    /// Minibatches per pass; each is one optimizer step.
    pub minibatches: usize,
    /// Responses that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Responses that are read without a graph at a time.
    pub score_batch: usize,
    /// From scores to advantages.
    pub credit: CreditRule,
    /// From advantages to a loss.
    pub surrogate: Surrogate,
    /// Over what the importance ratio is taken.
    pub ratio: RatioLevel,
    /// From tokens to a minibatch.
    pub aggregation: Aggregation,
    /// KL penalty in the loss.
    pub kl_loss: KlInLoss,
    /// β of the KL penalty in the reward.
    pub kl_reward: f64,
    /// KL estimator of the reward, score clipping and missing-stop penalty.
    pub shaping: RewardShaping,
    /// Punishment of long responses, added to the score.
    pub overlong: Option<OverlongPenalty>,
    /// Leave responses that ran into the length limit out of the loss, but not out of their group.
    pub mask_truncated: bool,
    /// Stop updating on a rollout once the estimated KL from the sampling policy exceeds this.
    pub target_kl: Option<f64>,
}

impl CriticFreeConfig {
    /// What the methods have in common before their own files change it: one step per rollout,
    /// group advantages, the clipped surrogate, no KL.
    pub(super) fn common() -> Self {
        Self {
            epochs: 1,
            minibatches: 1,
            micro_batch: 16,
            score_batch: 64,
            credit: CreditRule::default(),
            surrogate: Surrogate::clipped(0.2, 0.2),
            ratio: RatioLevel::Token,
            aggregation: Aggregation::TokenMean,
            kl_loss: KlInLoss::default(),
            kl_reward: 0.0,
            shaping: RewardShaping::default(),
            overlong: None,
            mask_truncated: false,
            target_kl: None,
        }
    }

    /// Whether the method compares with the reference at all.
    pub fn needs_reference(&self) -> bool {
        self.kl_loss.coef > 0.0 || self.kl_reward > 0.0
    }

    /// Checks every setting that is not checked where it is used.
    ///
    /// # Errors
    /// [`AlgorithmError::Setting`] or the advantage crate's own error, naming the setting.
    pub fn validate(&self) -> Result<(), AlgorithmError> {
        check_counts(&[
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("micro_batch", self.micro_batch),
            ("score_batch", self.score_batch),
        ])?;
        if let Aggregation::Constant { length } = self.aggregation {
            check_counts(&[("aggregation.length", length)])?;
        }
        let steps = self.epochs.saturating_mul(self.minibatches);
        if self.surrogate == Surrogate::Reinforce && steps > 1 {
            let expected = "1: without a ratio only the first step on a rollout is on the policy's own samples";
            return check(false, "epochs · minibatches", steps as f64, expected);
        }
        if let Surrogate::Clipped { low, high, dual } = self.surrogate {
            check(low > 0.0 && low < 1.0, "surrogate.low", low, "in (0, 1)")?;
            check_positive("surrogate.high", high)?;
            let dual = dual.unwrap_or(f64::INFINITY);
            check(dual > 1.0 + high, "surrogate.dual", dual, "above 1 + high")?;
        }
        check_not_negative("kl_loss.coef", self.kl_loss.coef)?;
        check_not_negative("kl_reward", self.kl_reward)?;
        check_positive("target_kl", self.target_kl.unwrap_or(1.0))?;
        self.credit.validate()?;
        if let Some(overlong) = self.overlong {
            overlong.validate()?;
        }
        Ok(self.shaping.validate()?)
    }
}
