use super::{Reweighting, Temperature, WeightedSequence};
use crate::AlgorithmError;
use hydralign_advantage::{Normaliser, Weighting};
use hydralign_core::Sequence;

impl Reweighting {
    /// SPR, successive policy re-weighting, on whole responses (Algorithm 2): N samples of each
    /// prompt, scores, weights, weighted supervised learning, and again.
    ///
    /// w_i = exp((r_i − W(x))/β),  W(x) = β·log (1/N)Σ_j exp(r_j/β)
    ///
    /// The weights of a prompt average 1. It is the projection onto the policies at hand of
    /// π* ∝ π_old·exp(r/β), the exact optimum of E\[r\] − β·KL(π‖π_old). Each phase holds one model:
    /// the policy samples, the reward model scores, the policy learns.
    ///
    /// *Certain*, from abstract and reviews (ICLR 2025, submission 12963): one model in memory at a
    /// time, supervised learning on re-weighted samples, the role of W and its three estimators.
    /// *Reconstruction*: the formulas here, which follow from the objective; β, clip and numbers of
    /// samples, which were not at hand.
    pub fn spr(temperature: Temperature) -> Self {
        let normaliser = Normaliser::SoftValue;
        Self { temperature, normaliser, clip: Some(20.0), standardise: false }
    }
}

/// The token weights of SPR's Algorithm 1, exp((Q(s_t, a_t) − W(s_t))/β), from fitted Q and W of each
/// response.
///
/// Q(s_t, a_t) is the value of the prefix that ends with token t
/// ([`Reading::PrefixValues`](hydralign_core::Reading::PrefixValues)), fitted to returns
/// ([`PrefixRegression`](crate::PrefixRegression)); W(s_t) of the state before it
/// ([`Reading::Values`](hydralign_core::Reading::Values)), fitted by [`Linex`](super::Linex) to Q. The
/// algorithm is a reconstruction from the reviews, which name its three fits.
///
/// # Errors
/// Q or W that are not finite or of another length than the response; β out of range.
pub fn token_weights(
    sequence: Sequence,
    action_values: &[f32],
    soft_values: &[f32],
    temperature: f64,
    clip: Option<f64>,
) -> Result<WeightedSequence, AlgorithmError> {
    let weighting = Weighting { temperature, clip, ..Weighting::default() };
    let values: Vec<f64> = soft_values.iter().map(|&w| f64::from(w)).collect();
    let weights = weighting.against(action_values, &values)?;
    if weights.len() != sequence.response_tokens() {
        return Err(hydralign_advantage::AdvantageError::LengthMismatch {
            left: "values",
            left_len: weights.len(),
            right: "response tokens",
            right_len: sequence.response_tokens(),
        }
        .into());
    }
    Ok(WeightedSequence { sequence, weights })
}
