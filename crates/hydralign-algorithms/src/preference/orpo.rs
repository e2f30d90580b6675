use super::{PairLoss, Side};
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

/// The odds ratio loss of ORPO (Hong et al. 2024, eq. 7).
///
/// ℓ = −λ·log σ( log odds(y_w) − log odds(y_l) ),  odds = p/(1 − p),  log p = log π(y)/|y|
///
/// The likelihood of the chosen responses, which is the larger part of ORPO, is `nll_weight` = 1 of
/// [`Preference`](super::Preference).
///
/// log p is kept at most −10⁻⁶, so that the odds of a response of probability 1 are large and not
/// infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orpo {
    /// λ, called β in TRL.
    pub lambda: f64,
}

impl Default for Orpo {
    fn default() -> Self {
        Self { lambda: 0.1 }
    }
}

/// Closest that a mean log-probability may come to 0.
const CEILING: f64 = -1e-6;

fn log_odds(side: &Side) -> Tensor<1> {
    let log_p = side.mean_logprob().clamp_max(CEILING);
    let rest = log_p.clone().exp().neg().add_scalar(1.0).log();
    log_p.sub(rest)
}

impl PairLoss for Orpo {
    fn needs_reference(&self) -> bool {
        false
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        side.mean_logprob().mul_scalar(self.lambda)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        log_sigmoid(log_odds(chosen).sub(log_odds(rejected))).mul_scalar(-self.lambda)
    }
}
