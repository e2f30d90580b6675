use super::PpoConfig;
use burn::tensor::Tensor;
use hydralign_core::{CoreError, Loss, Objective, Outputs, Reading, Request, Role};

/// What the PPO loss needs beside the readings, all packed `[tokens]`.
#[derive(Clone, Debug)]
pub struct PpoBatch {
    /// log π_old of the sampled tokens.
    pub old_logprobs: Tensor<1>,
    /// A_t, whitened if the settings say so.
    pub advantages: Tensor<1>,
    /// V_old.
    pub old_values: Tensor<1>,
    /// Value targets.
    pub returns: Tensor<1>,
    /// w_t: one over the real tokens of the whole minibatch.
    pub weights: Tensor<1>,
}

/// The clipped surrogate (Schulman et al. 2017, eq. 7) and its statistics.
///
/// L = Σ_t w_t · max(−A_t ρ_t, −A_t clip(ρ_t, 1 − ε_low, 1 + ε_high)),  ρ = exp(log π − log π_old)
///
/// Statistics: `policy_loss`; `clip_fraction`, where the clipped branch is the larger;
/// `approx_kl` = E[ρ − 1 − log ρ] of the sampling policy from this one (Schulman's k3);
/// `ratio`, the mean of ρ.
pub fn policy_loss(logprobs: Tensor<1>, batch: &PpoBatch, low: f64, high: f64) -> Loss {
    let weights = batch.weights.clone();
    let log_ratio = logprobs.sub(batch.old_logprobs.clone());
    let ratio = log_ratio.clone().exp();
    let plain = ratio.clone().mul(batch.advantages.clone()).neg();
    let clipped = ratio.clone().clamp(1.0 - low, 1.0 + high).mul(batch.advantages.clone()).neg();
    let (flat_plain, flat_clipped) =
        (plain.clone().without_autodiff(), clipped.clone().without_autodiff());
    let value = plain.max_pair(clipped).mul(weights.clone()).sum();
    let ratio = ratio.without_autodiff();
    let kl = ratio.clone().sub_scalar(1.0).sub(log_ratio.without_autodiff());
    let stats = vec![
        ("policy_loss", value.clone()),
        ("clip_fraction", flat_clipped.greater(flat_plain).float().mul(weights.clone()).sum()),
        ("approx_kl", kl.mul(weights.clone()).sum()),
        ("ratio", ratio.mul(weights).sum()),
    ];
    Loss { value, stats }
}

/// The clipped value loss (OpenAI baselines `ppo2`; Huang et al. 2024).
///
/// L = ½ Σ_t w_t · max((V_t − R_t)², (clip(V_t, V_old ± c) − R_t)²)
///
/// Statistics: `value_loss`; `value_clip_fraction`, where the clipped branch is the larger.
pub fn value_loss(values: Tensor<1>, batch: &PpoBatch, clip: Option<f64>) -> Loss {
    let weights = batch.weights.clone();
    let plain = values.clone().sub(batch.returns.clone()).square();
    let Some(clip) = clip else {
        let value = plain.mul(weights).sum().mul_scalar(0.5);
        return Loss { stats: vec![("value_loss", value.clone())], value };
    };
    let old = batch.old_values.clone();
    let near = old.clone().add(values.sub(old).clamp(-clip, clip));
    let clipped = near.sub(batch.returns.clone()).square();
    let (flat_plain, flat_clipped) =
        (plain.clone().without_autodiff(), clipped.clone().without_autodiff());
    let value = plain.max_pair(clipped).mul(weights.clone()).sum().mul_scalar(0.5);
    let stats = vec![
        ("value_loss", value.clone()),
        ("value_clip_fraction", flat_clipped.greater(flat_plain).float().mul(weights).sum()),
    ];
    Loss { value, stats }
}

/// Policy loss + c_v · value loss − c_e · entropy.
///
/// It reads actor and critic; whether they share a pass is the placement's business. With a
/// c_e the statistics hold `policy_entropy`, exact over the vocabulary.
#[derive(Clone, Debug)]
pub struct PpoObjective {
    /// Settings.
    pub config: PpoConfig,
}

const LOGPROBS: Reading = Reading::Logprobs(Role::Actor);
const ENTROPY: Reading = Reading::Entropy(Role::Actor);
const VALUES: Reading = Reading::Values(Role::Critic);

impl Objective for PpoObjective {
    type Batch = PpoBatch;

    fn reads(&self) -> Vec<Request> {
        let mut requests = vec![Request::differentiable(LOGPROBS), Request::differentiable(VALUES)];
        if self.config.entropy_coef > 0.0 {
            requests.push(Request::differentiable(ENTROPY));
        }
        requests
    }

    fn loss(&self, outputs: &Outputs, batch: &PpoBatch) -> Result<Loss, CoreError> {
        let PpoConfig { clip_range: low, clip_range_high, value_clip, .. } = self.config;
        let high = clip_range_high.unwrap_or(low);
        let policy = policy_loss(outputs.get(LOGPROBS)?, batch, low, high);
        let critic = value_loss(outputs.get(VALUES)?, batch, value_clip);
        let mut value = policy.value.add(critic.value.mul_scalar(self.config.value_coef));
        let mut stats = policy.stats;
        stats.extend(critic.stats);
        if self.config.entropy_coef > 0.0 {
            let entropy = outputs.get(ENTROPY)?.mul(batch.weights.clone()).sum();
            value = value.sub(entropy.clone().mul_scalar(self.config.entropy_coef));
            stats.push(("policy_entropy", entropy));
        }
        Ok(Loss { value, stats })
    }
}
