use crate::{AdvantageError, check};

/// W_N = β·log( (1/N)·Σ_i exp(r_i/β) ): the soft value of a prompt, from N sampled scores.
///
/// It lies between the mean of the scores (β → ∞) and their largest (β → 0). It is also the
/// maximum-likelihood location of Gumbel noise: where −r_i = −W + Gumbel(0, β), the likelihood of
/// W has its only stationary point here, so the "empirical" and the "closed form under Gumbel
/// noise" estimators of SPR are one and the same.
///
/// W_N is biased: E\[W_N\] ≤ W, by about (β/2N)·(E\[e^{2r/β}\]/E\[e^{r/β}\]² − 1).
///
/// # Errors
/// [`AdvantageError::TooFew`] without scores, [`AdvantageError::NonFinite`],
/// [`AdvantageError::OutOfRange`] unless β is finite and positive.
///
/// Source: Peters et al. 2010 and Peng et al. 2019 for the dual; the estimator's place in SPR is
/// from the abstract and the reviews of the submission (ICLR 2025, 12963): its equations were
/// not at hand.
pub fn soft_value(scores: &[f32], temperature: f64) -> Result<f64, AdvantageError> {
    check::positive("temperature", temperature)?;
    check::at_least(1, "scores of a prompt", scores.len())?;
    check::finite("scores", scores)?;
    Ok(log_mean_exp(scores, temperature))
}

/// W_{−i} = β·log( (1/(N−1))·Σ_{j≠i} exp(r_j/β) ), one for each sample: the soft value that the
/// *other* samples of the prompt estimate.
///
/// It is independent of the sample that it is compared with, which removes the bias of
/// normalising a sample by itself: exp((r_i − W_{−i})/β) may exceed N.
///
/// # Errors
/// As [`soft_value`], with at least two scores.
pub fn leave_one_out_values(scores: &[f32], temperature: f64) -> Result<Vec<f64>, AdvantageError> {
    check::positive("temperature", temperature)?;
    check::at_least(2, "scores of a prompt", scores.len())?;
    check::finite("scores", scores)?;
    let without = |i: usize| {
        let rest: Vec<f32> = [&scores[..i], &scores[i + 1..]].concat();
        log_mean_exp(&rest, temperature)
    };
    Ok((0..scores.len()).map(without).collect())
}

/// Shifted by the largest score, so that no exponential overflows.
fn log_mean_exp(scores: &[f32], temperature: f64) -> f64 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |&r: &f32| ((f64::from(r) - f64::from(top)) / temperature).exp();
    let mean = scores.iter().map(exp).sum::<f64>() / scores.len() as f64;
    f64::from(top) + temperature * mean.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(scores: &[f32]) -> f64 {
        scores.iter().map(|&r| f64::from(r)).sum::<f64>() / scores.len() as f64
    }

    proptest! {
        #[test]
        fn it_lies_between_mean_and_maximum_and_reaches_both(
            scores in prop::collection::vec(-5f32..5.0, 1..9),
        ) {
            let w = |beta| soft_value(&scores, beta).unwrap();
            let top = f64::from(scores.iter().copied().fold(f32::MIN, f32::max));
            let mut before = top + 1e-9;
            for beta in [0.05, 0.3, 1.0, 4.0, 50.0] {
                prop_assert!(w(beta) <= before + 1e-9, "falls with β");
                prop_assert!(w(beta) >= mean(&scores) - 1e-9);
                before = w(beta);
            }
            prop_assert!((w(1e-6) - top).abs() < 1e-4);
            prop_assert!((w(1e6) - mean(&scores)).abs() < 1e-4);
        }

        #[test]
        fn scores_and_temperature_scale_together(
            scores in prop::collection::vec(-5f32..5.0, 1..9), shift in -9f32..9.0,
        ) {
            let moved: Vec<f32> = scores.iter().map(|r| 2.0 * r + shift).collect();
            let want = 2.0 * soft_value(&scores, 0.7).unwrap() + f64::from(shift);
            prop_assert!((soft_value(&moved, 1.4).unwrap() - want).abs() < 1e-4);
        }

        /// The location of Gumbel noise by maximum likelihood, found by search: a minimum of −r
        /// is distributed so, and log p = −z − e^{−z} with z = (W − r)/β.
        #[test]
        fn it_is_the_gumbel_location_of_maximal_likelihood(
            scores in prop::collection::vec(-3f32..3.0, 2..9), beta in 0.2f64..3.0,
        ) {
            let likelihood = |w: f64| -> f64 {
                let term = |&r: &f32| { let z = (w - f64::from(r)) / beta; -z - (-z).exp() };
                scores.iter().map(term).sum()
            };
            let (mut low, mut high) = (-4.0, 4.0);
            for _ in 0..200 {
                let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
                if likelihood(a) < likelihood(b) { low = a } else { high = b }
            }
            prop_assert!((low - soft_value(&scores, beta).unwrap()).abs() < 1e-4);
        }
    }

    #[test]
    fn leaving_one_out_forgets_that_one() {
        let scores = [0.0, 1.0, 5.0];
        let w = leave_one_out_values(&scores, 0.5).unwrap();
        assert!((w[2] - soft_value(&[0.0, 1.0], 0.5).unwrap()).abs() < 1e-12);
        assert!((w[0] - soft_value(&[1.0, 5.0], 0.5).unwrap()).abs() < 1e-12);
        let one = leave_one_out_values(&[1.0], 0.5).unwrap_err();
        assert!(matches!(one, AdvantageError::TooFew { count: 1, needed: 2, .. }));
    }

    #[test]
    fn neither_large_scores_nor_a_small_temperature_overflow() {
        assert_eq!(soft_value(&[3e38, 3e38], 1e-3).unwrap(), f64::from(3e38f32));
        assert!((soft_value(&[1000.0, 0.0], 1.0).unwrap() - (1000.0 - 2f64.ln())).abs() < 1e-9);
    }

    #[test]
    fn faults_are_named() {
        assert!(matches!(soft_value(&[], 1.0), Err(AdvantageError::TooFew { .. })));
        assert!(matches!(soft_value(&[f32::NAN], 1.0), Err(AdvantageError::NonFinite { .. })));
        for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = soft_value(&[1.0], beta).unwrap_err();
            assert!(matches!(error, AdvantageError::OutOfRange { name: "temperature", .. }));
        }
    }
}
