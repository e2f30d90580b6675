use super::{CriticFreeConfig, KlInLoss};
use crate::rows::Rows;
use burn::tensor::Tensor;
use hydralign_core::{CoreError, Loss, Objective, Outputs, Reading, Request, Role};
use serde::{Deserialize, Serialize};

/// Over what the importance ratio ρ = π/π_old is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// Each token has its own: PPO, GRPO.
    #[default]
    Token,
    /// The geometric mean over the response, (π/π_old)^{1/|y|}, for all of its tokens: GSPO.
    SequenceMean,
    /// The product over the response, for all of its tokens: RLOO.
    Sequence,
}

/// The loss of one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Surrogate {
    /// −A·log π: plain REINFORCE, for samples of the policy itself: one step per rollout.
    Reinforce,
    /// max(−A·ρ, −A·clip(ρ, 1 − low, 1 + high)), and at most −A·dual where A < 0.
    Clipped {
        /// ε below 1.
        low: f64,
        /// ε above 1.
        high: f64,
        /// Bound on the ratio of a token with a negative advantage (Ye et al. 2020, dual clip; the
        /// same as TRL's `delta`).
        #[serde(default)]
        dual: Option<f64>,
    },
}

impl Surrogate {
    /// The clipped surrogate without a bound from above.
    pub fn clipped(low: f64, high: f64) -> Self {
        Surrogate::Clipped { low, high, dual: None }
    }
}

/// What the loss needs beside the readings; packed `[tokens]`.
#[derive(Clone, Debug)]
pub struct PolicyBatch {
    /// log π_old of the sampled tokens.
    pub old_logprobs: Tensor<1>,
    /// log π_ref of the sampled tokens; needed with a KL penalty in the loss.
    pub ref_logprobs: Option<Tensor<1>>,
    /// A_t.
    pub advantages: Tensor<1>,
    /// The weight of each token, by [`Aggregation`](super::Aggregation).
    pub weights: Tensor<1>,
    /// One over the tokens of the whole minibatch: the weight of a token in statistics.
    pub share: f64,
    /// Where responses begin and end.
    pub rows: Rows,
}

/// The loss of a policy gradient without a critic.
///
/// L = Σ_t w_t·[ surrogate(A_t, ρ_t) + c·k3_t ]
///
/// Statistics: `policy_loss`, with the weights of the loss; and means over the tokens of the minibatch,
/// whatever the weights: `clip_fraction`, `approx_kl` = E[ρ − 1 − log ρ], `ratio`, `kl_loss`.
#[derive(Clone, Debug)]
pub struct PolicyGradient {
    /// Settings.
    pub config: CriticFreeConfig,
}

const ACTOR: Reading = Reading::Logprobs(Role::Actor);
const REFERENCE: Reading = Reading::Logprobs(Role::Reference);

impl Objective for PolicyGradient {
    type Batch = PolicyBatch;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(ACTOR)]
    }

    fn loss(&self, outputs: &Outputs, batch: &PolicyBatch) -> Result<Loss, CoreError> {
        let logprobs = outputs.get(ACTOR)?;
        let log_ratio = self.log_ratio(&logprobs, batch);
        let ratio = log_ratio.clone().exp();
        let (terms, clipped) = self.surrogate(&logprobs, &ratio, &batch.advantages);
        let mean = |x: Tensor<1>| x.mul(batch.weights.clone()).sum();
        let mut value = mean(terms);
        let flat = ratio.clone().without_autodiff();
        let kl = flat.clone().sub_scalar(1.0).sub(log_ratio.without_autodiff());
        let share = |x: Tensor<1>| x.sum().mul_scalar(batch.share);
        let mut stats = vec![
            ("policy_loss", value.clone()),
            ("clip_fraction", share(clipped)),
            ("approx_kl", share(kl)),
            ("ratio", share(flat)),
        ];
        if self.config.kl_loss.coef > 0.0 {
            let reference = batch.ref_logprobs.clone();
            let reference = reference.ok_or(CoreError::MissingReading { reading: REFERENCE })?;
            let kl = k3_in_loss(logprobs, reference, &ratio, self.config.kl_loss);
            stats.push(("kl_loss", share(kl.clone().without_autodiff())));
            value = value.add(mean(kl).mul_scalar(self.config.kl_loss.coef));
        }
        Ok(Loss { value, stats })
    }
}

impl PolicyGradient {
    /// log ρ of each token, `[tokens]`.
    fn log_ratio(&self, logprobs: &Tensor<1>, batch: &PolicyBatch) -> Tensor<1> {
        let own = logprobs.clone().sub(batch.old_logprobs.clone());
        match self.config.ratio {
            RatioLevel::Token => own,
            RatioLevel::SequenceMean => batch.rows.spread(batch.rows.mean(own)),
            RatioLevel::Sequence => batch.rows.spread(batch.rows.sum(own)),
        }
    }

    /// The loss of each token, and 1 where the clipped branch is the larger.
    fn surrogate(
        &self,
        logprobs: &Tensor<1>,
        ratio: &Tensor<1>,
        advantages: &Tensor<1>,
    ) -> (Tensor<1>, Tensor<1>) {
        let Surrogate::Clipped { low, high, dual } = self.config.surrogate else {
            return (logprobs.clone().mul(advantages.clone()).neg(), advantages.zeros_like());
        };
        let bounded = match dual {
            // Only a negative advantage can make the unclipped branch count above 1 + high.
            Some(dual) => ratio.clone().clamp_max(dual),
            None => ratio.clone(),
        };
        let loss = |ratio: Tensor<1>| ratio.mul(advantages.clone()).neg();
        let plain = loss(bounded);
        let clipped = loss(ratio.clone().clamp(1.0 - low, 1.0 + high));
        let above = clipped.clone().without_autodiff().greater(plain.clone().without_autodiff());
        (plain.max_pair(clipped), above.float())
    }
}

/// k3 of each token, with the gradient of the estimator itself.
fn k3_in_loss(
    logprobs: Tensor<1>,
    reference: Tensor<1>,
    ratio: &Tensor<1>,
    kl: KlInLoss,
) -> Tensor<1> {
    let gap = reference.sub(logprobs);
    let k3 = gap.clone().exp().sub_scalar(1.0).sub(gap);
    match kl.corrected {
        true => k3.mul(ratio.clone()),
        false => k3,
    }
}
