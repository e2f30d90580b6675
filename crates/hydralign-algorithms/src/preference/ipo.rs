use super::{PairLoss, Side};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Identity preference optimisation (Azar et al. 2023, eq. 17).
///
/// ℓ = ( h − 1/(2β) )²,  h = (log π − log π_ref)(y_w)/|y_w| − (log π − log π_ref)(y_l)/|y_l|
///
/// Log-probabilities are *means* over tokens, as in TRL since 0.9: with sums the target 1/(2β) means
/// something else for every length (TRL issues #1265 and #1677). `sum` restores the sums of the
/// DPO authors' code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ipo {
    /// β, called τ in the paper.
    pub beta: f64,
    /// Sums in place of means.
    pub sum: bool,
}

impl Default for Ipo {
    fn default() -> Self {
        Self { beta: 0.1, sum: false }
    }
}

impl Ipo {
    fn log_ratio(&self, side: &Side) -> Tensor<1> {
        match self.sum {
            true => side.log_ratio(),
            false => side.log_ratio().div(side.length.clone()),
        }
    }
}

impl PairLoss for Ipo {
    fn needs_reference(&self) -> bool {
        true
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        self.log_ratio(side).mul_scalar(self.beta)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        let h = self.log_ratio(chosen).sub(self.log_ratio(rejected));
        h.sub_scalar(1.0 / (2.0 * self.beta)).square()
    }
}
