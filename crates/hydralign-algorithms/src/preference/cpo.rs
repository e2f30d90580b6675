use super::loss::logistic;
use super::{PairLoss, Side};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Contrastive preference optimisation: DPO against a uniform reference, with the likelihood of the
/// chosen responses beside it (Xu et al. 2024, "Contrastive Preference Optimization", eq. 5).
///
/// ℓ = −log σ( β·[ log π(y_w) − log π(y_l) ] )
///
/// The likelihood term is `nll_weight` = 1 of [`Preference`](super::Preference).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cpo {
    /// β.
    pub beta: f64,
    /// The probability that a label is flipped, as in [`Dpo`](super::Dpo).
    pub label_smoothing: f64,
}

impl Default for Cpo {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0 }
    }
}

impl PairLoss for Cpo {
    fn needs_reference(&self) -> bool {
        false
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        side.logprob.clone().mul_scalar(self.beta)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        logistic(self.reward(chosen).sub(self.reward(rejected)), self.label_smoothing)
    }
}
