use super::loss::logistic;
use super::{PairLoss, Side};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// SimPO: no reference, rewards per token, a target margin (Meng et al. 2024, eq. 6).
///
/// ℓ = −log σ( β·log π(y_w)/|y_w| − β·log π(y_l)/|y_l| − γ )
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimPo {
    /// β.
    pub beta: f64,
    /// γ/β: the margin in units of β, as the authors' code has it.
    pub gamma_beta_ratio: f64,
    /// The probability that a label is flipped, as in [`Dpo`](super::Dpo).
    pub label_smoothing: f64,
}

impl Default for SimPo {
    /// β = 2, γ/β = ½: the authors' starting point.
    fn default() -> Self {
        Self { beta: 2.0, gamma_beta_ratio: 0.5, label_smoothing: 0.0 }
    }
}

impl PairLoss for SimPo {
    fn needs_reference(&self) -> bool {
        false
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        side.mean_logprob().mul_scalar(self.beta)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        let h = self.reward(chosen).sub(self.reward(rejected));
        logistic(h.sub_scalar(self.beta * self.gamma_beta_ratio), self.label_smoothing)
    }
}
