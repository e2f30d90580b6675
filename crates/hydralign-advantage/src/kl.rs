use crate::{AdvantageError, check};
use serde::{Deserialize, Serialize};

/// A one-sample estimate of KL(π ‖ π_ref) at one token that was sampled from π.
///
/// With ℓ = log π(y_t) − log π_ref(y_t):
///
/// k1 = ℓ, k2 = ℓ²/2, k3 = e^−ℓ − 1 + ℓ
///
/// The exponent of k3 is the ratio π_ref/π of the *other* distribution to the sampled one.
/// e^ℓ − 1 − ℓ, which rlhf-book's `approx_kl3` and trlX's `mean_kl` compute, estimates
/// something else unless the samples come from π_ref.
///
/// Source: Schulman, "Approximating KL divergence", 2020. Departure: no clamping (OpenRLHF
/// clamps to ±10, verl to ±20 and ±10); a ratio that overflows is reported as an error where
/// rewards are shaped, instead of becoming a plausible number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// ℓ: unbiased, of either sign, high variance. The usual choice inside a reward.
    #[default]
    K1,
    /// ℓ²/2: never negative, biased by O(third order) in the distance of the two policies.
    K2,
    /// e^−ℓ − 1 + ℓ: unbiased and never negative.
    K3,
}

impl KlEstimator {
    /// The estimate at one token, in nats.
    pub fn estimate(self, logprob: f32, ref_logprob: f32) -> f32 {
        let l = f64::from(logprob) - f64::from(ref_logprob);
        let k = match self {
            KlEstimator::K1 => l,
            KlEstimator::K2 => 0.5 * l * l,
            KlEstimator::K3 => (-l).exp_m1() + l,
        };
        k as f32
    }
}

/// KL of whole responses, which KL controllers compare with their target: the mean over
/// episodes of Σ_t kl_t.
///
/// # Errors
/// [`AdvantageError::TooFew`] without episodes, [`AdvantageError::NonFinite`].
///
/// Source: Ziegler et al. 2019, §2.2, whose targets (6 nats and the like) are per response.
pub fn mean_sequence_kl<E: AsRef<[f32]>>(episodes: &[E]) -> Result<f64, AdvantageError> {
    check::at_least(1, "episodes", episodes.len())?;
    let mut sum = 0.0;
    for episode in episodes {
        check::finite("kl", episode.as_ref())?;
        sum += episode.as_ref().iter().map(|&k| f64::from(k)).sum::<f64>();
    }
    Ok(sum / episodes.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f64; 5] = [0.3, -1.2, 0.9, 0.0, -0.4];
    /// Moves the rare token most: a skewed log-ratio, whose third cumulant is k2's leading bias.
    const STEP: [f64; 5] = [-0.2, 2.0, -0.3, 0.1, 0.0];

    fn log_softmax(logits: impl Iterator<Item = f64>) -> Vec<f64> {
        let logits: Vec<f64> = logits.collect();
        let log_sum = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
        logits.iter().map(|l| l - log_sum).collect()
    }

    /// log π and log π_ref of a five-token vocabulary, `distance` apart.
    fn policies(distance: f64) -> (Vec<f64>, Vec<f64>) {
        let moved = LOGITS.iter().zip(STEP).map(|(l, s)| l + distance * s);
        (log_softmax(LOGITS.into_iter()), log_softmax(moved))
    }

    /// Σ_y π(y)·f(log π(y), log π_ref(y)): no sampling, every token in turn.
    fn expectation(distance: f64, f: impl Fn(f64, f64) -> f64) -> f64 {
        let (p, q) = policies(distance);
        p.iter().zip(&q).map(|(&p, &q)| p.exp() * f(p, q)).sum()
    }

    fn exact(distance: f64) -> f64 {
        expectation(distance, |p, q| p - q)
    }

    fn expected(estimator: KlEstimator, distance: f64) -> f64 {
        expectation(distance, |p, q| f64::from(estimator.estimate(p as f32, q as f32)))
    }

    #[test]
    fn k1_and_k3_are_unbiased() {
        for distance in [0.1, 0.5, 1.0, 3.0] {
            for estimator in [KlEstimator::K1, KlEstimator::K3] {
                let error = expected(estimator, distance) - exact(distance);
                assert!(error.abs() < 2e-6, "{estimator:?} at {distance}: off by {error}");
            }
        }
    }

    #[test]
    fn the_bias_of_k2_is_of_third_order() {
        let bias = |d| expected(KlEstimator::K2, d) - exact(d);
        assert!(bias(0.2).abs() > 1e-4, "no bias: this is not k2");
        let order = (bias(0.2) / bias(0.1)).log2();
        assert!((order - 3.0).abs() < 0.2, "order {order}");
    }

    #[test]
    fn k2_and_k3_are_never_negative_and_zero_at_equality() {
        for estimator in [KlEstimator::K2, KlEstimator::K3] {
            assert_eq!(estimator.estimate(-1.5, -1.5), 0.0);
            for (p, q) in [(-0.1, -8.0), (-8.0, -0.1), (-1.0, -1.000_001)] {
                assert!(estimator.estimate(p, q) >= 0.0, "{estimator:?} {p} {q}");
            }
        }
    }

    #[test]
    fn the_kl_of_a_response_is_a_sum_over_its_tokens() {
        let kl = mean_sequence_kl(&[vec![1.0, 2.0, 3.0], vec![-2.0]]).unwrap();
        assert_eq!(kl, 2.0);
        assert!(mean_sequence_kl::<Vec<f32>>(&[]).is_err());
    }
}
