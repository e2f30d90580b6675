use crate::{AdvantageError, check};
use serde::{Deserialize, Serialize};

/// Which of the sampled responses are learnt from: weights of 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// The best response of each prompt: best-of-N, RAFT (Dong et al. 2023), SuperHF (Mukobi et
    /// al. 2023).
    Best,
    /// The `count` best responses of each prompt.
    Top {
        /// How many, at least 1.
        count: usize,
    },
    /// Responses whose score is at least a threshold: ReST's filter (Gulcehre et al. 2023).
    Above {
        /// The least score that passes.
        threshold: f32,
    },
    /// Responses whose score is at least this quantile of *all* scores: ReST's rising filter
    /// without knowing the scale of the reward.
    Quantile {
        /// Share of the scores that lies below, from 0 (all pass) to 1 (only the best pass).
        quantile: f64,
    },
}

impl Selection {
    /// One weight per response, prompt by prompt. Of equal scores the first counts as better, so
    /// that the same samples give the same choice.
    ///
    /// # Errors
    /// [`AdvantageError::TooFew`] without prompts or without responses of one,
    /// [`AdvantageError::NonFinite`], [`AdvantageError::OutOfRange`] for settings.
    pub fn weights<G: AsRef<[f32]>>(&self, prompts: &[G]) -> Result<Vec<Vec<f32>>, AdvantageError> {
        check::at_least(1, "prompts", prompts.len())?;
        for scores in prompts {
            check::at_least(1, "scores of a prompt", scores.as_ref().len())?;
            check::finite("scores", scores.as_ref())?;
        }
        let rows = prompts.iter().map(AsRef::as_ref);
        Ok(match *self {
            Selection::Best => rows.map(|scores| top(scores, 1)).collect(),
            Selection::Top { count } => {
                check::at_least(1, "responses to keep of a prompt", count)?;
                rows.map(|scores| top(scores, count)).collect()
            }
            Selection::Above { threshold } => {
                check::finite("threshold", &[threshold])?;
                rows.map(|scores| above(scores, threshold)).collect()
            }
            Selection::Quantile { quantile: q } => {
                check::unit_interval("quantile", q)?;
                let threshold = quantile(rows.clone().flatten().copied().collect(), q);
                rows.map(|scores| above(scores, threshold)).collect()
            }
        })
    }
}

fn top(scores: &[f32], count: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut weights = vec![0.0; scores.len()];
    order.into_iter().take(count).for_each(|i| weights[i] = 1.0);
    weights
}

fn above(scores: &[f32], threshold: f32) -> Vec<f32> {
    scores.iter().map(|&r| if r >= threshold { 1.0 } else { 0.0 }).collect()
}

/// The smallest score with at least the share q of all scores at or below it.
fn quantile(mut scores: Vec<f32>, q: f64) -> f32 {
    scores.sort_by(f32::total_cmp);
    let rank = (q * scores.len() as f64).ceil() as usize;
    scores[rank.clamp(1, scores.len()) - 1]
}

/// An upper bound on the KL divergence, in nats, of best-of-`n` sampling from the policy that is
/// sampled: log n − (n − 1)/n. It is met where no response is drawn twice.
///
/// Source: Stiennon et al. 2020, app. G.3; an upper bound by Beirami et al. 2024.
pub fn best_of_n_kl(n: usize) -> f64 {
    let n = n.max(1) as f64;
    n.ln() - (n - 1.0) / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_best_are_kept(
            prompts in prop::collection::vec(prop::collection::vec(-3i8..3, 1..7), 1..5),
            count in 1usize..4,
        ) {
            let prompts: Vec<Vec<f32>> =
                prompts.iter().map(|p| p.iter().map(|&r| f32::from(r)).collect()).collect();
            let weights = Selection::Top { count }.weights(&prompts).unwrap();
            for (w, r) in weights.iter().zip(&prompts) {
                let kept = w.iter().filter(|&&w| w == 1.0).count();
                prop_assert_eq!(kept, count.min(r.len()));
                let least = w.iter().zip(r).filter(|(w, _)| **w == 1.0).map(|(_, r)| *r);
                let least = least.fold(f32::INFINITY, f32::min);
                prop_assert!(w.iter().zip(r).all(|(w, r)| *w == 1.0 || *r <= least));
            }
        }
    }

    #[test]
    fn the_first_of_equals_wins() {
        let weights = Selection::Best.weights(&[vec![1.0, 2.0, 2.0], vec![0.0]]).unwrap();
        assert_eq!(weights, [vec![0.0, 1.0, 0.0], vec![1.0]]);
    }

    #[test]
    fn a_quantile_is_taken_over_all_prompts() {
        let prompts = [vec![1.0, 2.0], vec![3.0, 4.0]];
        let kept = |quantile| Selection::Quantile { quantile }.weights(&prompts).unwrap();
        assert_eq!(kept(0.0), [vec![1.0, 1.0], vec![1.0, 1.0]]);
        assert_eq!(kept(0.75), [vec![0.0, 0.0], vec![1.0, 1.0]]);
        assert_eq!(kept(1.0), [vec![0.0, 0.0], vec![0.0, 1.0]]);
    }

    #[test]
    fn a_threshold_may_keep_none() {
        let weights = Selection::Above { threshold: 2.0 }.weights(&[[1.0, 1.5]]).unwrap();
        assert_eq!(weights, [[0.0, 0.0]]);
    }

    /// Every response has its own rank, so best-of-n draws rank k of N with a known probability
    /// and its KL from uniform sampling can be summed.
    #[test]
    fn the_divergence_is_that_of_the_order_statistic() {
        let ranks = 200_000;
        for n in [1usize, 2, 8, 64] {
            let cdf = |k: usize| (k as f64 / ranks as f64).powi(n as i32);
            let kl: f64 = (1..=ranks)
                .map(|k| cdf(k) - cdf(k - 1))
                .filter(|p| *p > 0.0)
                .map(|p| p * (p * ranks as f64).ln())
                .sum();
            assert!((kl - best_of_n_kl(n)).abs() < 1e-3, "n = {n}: {kl}");
        }
    }

    #[test]
    fn faults_are_named() {
        let none = Selection::Best.weights::<Vec<f32>>(&[]).unwrap_err();
        assert!(matches!(none, AdvantageError::TooFew { what: "prompts", .. }));
        let empty = Selection::Best.weights(&[vec![]]).unwrap_err();
        assert!(matches!(empty, AdvantageError::TooFew { what: "scores of a prompt", .. }));
        let nan = Selection::Best.weights(&[[0.0, f32::NAN]]).unwrap_err();
        assert!(matches!(nan, AdvantageError::NonFinite { index: 1, .. }));
        let quantile = Selection::Quantile { quantile: 1.5 }.weights(&[[0.0]]).unwrap_err();
        assert!(matches!(quantile, AdvantageError::OutOfRange { name: "quantile", .. }));
        assert!(Selection::Top { count: 0 }.weights(&[[0.0]]).is_err());
    }
}
