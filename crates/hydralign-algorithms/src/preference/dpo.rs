use super::loss::logistic;
use super::{PairLoss, Side};
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

/// Direct preference optimisation.
///
/// ℓ = −(1 − ε)·log σ(h) − ε·log σ(−h),  h = β·[ (log π − log π_ref)(y_w) − (log π − log π_ref)(y_l) ]
///
/// ε = 0 is DPO (Rafailov et al. 2023, eq. 7); ε > 0 is conservative DPO (Mitchell 2023, "A note on
/// DPO with noisy preferences"). With `robust` the loss is divided by 1 − 2ε and the second term
/// changes its sign, which makes it unbiased under flipped labels (Chowdhury et al. 2024, "Provably
/// robust DPO"). With `reference_free` log π_ref is taken as 0.
///
/// It starts at ln 2 where the policy is the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// β: how strongly the policy is tied to the reference.
    pub beta: f64,
    /// ε: the probability that a label is flipped; below ½.
    pub label_smoothing: f64,
    /// The unbiased form of smoothing.
    pub robust: bool,
    /// Leave the reference out.
    pub reference_free: bool,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0, robust: false, reference_free: false }
    }
}

impl PairLoss for Dpo {
    fn needs_reference(&self) -> bool {
        !self.reference_free
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        side.log_ratio().mul_scalar(self.beta)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        let h = self.reward(chosen).sub(self.reward(rejected));
        if !self.robust {
            return logistic(h, self.label_smoothing);
        }
        let flipped = log_sigmoid(h.clone().neg()).mul_scalar(self.label_smoothing);
        let kept = log_sigmoid(h).mul_scalar(1.0 - self.label_smoothing);
        flipped.sub(kept).div_scalar(1.0 - 2.0 * self.label_smoothing)
    }
}
