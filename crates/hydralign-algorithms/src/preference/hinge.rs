use super::{PairLoss, Side};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

/// The hinge loss of SLiC-HF (Zhao et al. 2023) on log-ratios (Liu et al. 2023, "RSO").
///
/// ℓ = max(0, 1 − h),  h = β·[ (log π − log π_ref)(y_w) − (log π − log π_ref)(y_l) ]
///
/// A pair that is ranked by more than 1/β has no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hinge {
    /// β, one over the margin.
    pub beta: f64,
}

impl Default for Hinge {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

impl PairLoss for Hinge {
    fn needs_reference(&self) -> bool {
        true
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        side.log_ratio().mul_scalar(self.beta)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        let h = self.reward(chosen).sub(self.reward(rejected));
        relu(h.neg().add_scalar(1.0))
    }
}
