use crate::soft_value::{leave_one_out_values, soft_value};
use crate::{AdvantageError, check};
use serde::{Deserialize, Serialize};

/// What a response's score is compared with before the exponential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normaliser {
    /// 0: reward-weighted regression (RWR). Prompts with high scores weigh more.
    Zero,
    /// V = the mean score of the prompt: advantage-weighted regression (AWR).
    Mean,
    /// W = [`soft_value`] of the prompt: SPR. Weights average 1 over each prompt.
    #[default]
    SoftValue,
    /// W_{−i} = [`leave_one_out_values`]: SPR without self-normalisation.
    LeaveOneOut,
    /// The best score of the prompt, W as β → 0: all weights are at most 1.
    Max,
}

/// Exponential weights for supervised learning on sampled responses.
///
/// w_i = min( exp((r_i − W_i)/β), clip )
///
/// with W_i by [`Normaliser`]. AWR and SPR differ by the factor exp((W − V)/β), which is the same
/// for all responses of a prompt: they rank responses alike and prompts differently.
///
/// Source: Peters and Schaal 2007 (RWR), Peng et al. 2019 (AWR, temperature 1, clip 20); SPR by
/// its abstract and reviews (ICLR 2025, 12963).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weighting {
    /// β, in units of the score.
    pub temperature: f64,
    /// What the score is compared with.
    pub normaliser: Normaliser,
    /// Largest weight; none leaves them.
    pub clip: Option<f64>,
}

impl Default for Weighting {
    /// SPR with β = 1 and the clip of AWR, 20.
    fn default() -> Self {
        Self { temperature: 1.0, normaliser: Normaliser::default(), clip: Some(20.0) }
    }
}

impl Weighting {
    /// The weights of the responses to one prompt.
    ///
    /// A clip is applied to the exponent, so that with a clip no β overflows.
    ///
    /// # Errors
    /// [`AdvantageError::TooFew`] for one response where the normaliser needs two (with
    /// [`Normaliser::Mean`], [`Normaliser::SoftValue`] and [`Normaliser::Max`] a single response
    /// has weight 1, which is plain supervised learning),
    /// [`AdvantageError::NonFinite`] for scores, and for weights that overflow f32 without a
    /// clip; [`AdvantageError::OutOfRange`] for settings.
    pub fn weights(&self, scores: &[f32]) -> Result<Vec<f32>, AdvantageError> {
        let n = scores.len();
        let values = match self.normaliser {
            Normaliser::SoftValue => vec![soft_value(scores, self.temperature)?; n],
            Normaliser::LeaveOneOut => leave_one_out_values(scores, self.temperature)?,
            Normaliser::Zero => vec![0.0; n],
            Normaliser::Mean => {
                vec![scores.iter().map(|&r| f64::from(r)).sum::<f64>() / n.max(1) as f64; n]
            }
            Normaliser::Max => {
                vec![f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)); n]
            }
        };
        self.against(scores, &values)
    }

    /// Weights against given values W_i, such as those of a learned W_φ; the normaliser is not
    /// used.
    ///
    /// # Errors
    /// As [`Weighting::weights`], and [`AdvantageError::LengthMismatch`].
    pub fn against(&self, scores: &[f32], values: &[f64]) -> Result<Vec<f32>, AdvantageError> {
        check::positive("temperature", self.temperature)?;
        if let Some(clip) = self.clip {
            check::positive("clip", clip)?;
        }
        check::same_length(("scores", scores.len()), ("values", values.len()))?;
        check::at_least(1, "scores of a prompt", scores.len())?;
        check::finite("scores", scores)?;
        let bound = self.clip.map_or(f64::INFINITY, f64::ln);
        let weight = |(&r, &w): (&f32, &f64)| {
            ((f64::from(r) - w) / self.temperature).min(bound).exp() as f32
        };
        let weights: Vec<f32> = scores.iter().zip(values).map(weight).collect();
        check::finite("weights", &weights)?;
        Ok(weights)
    }
}

/// ESS = (Σw)²/Σw²: how many equally weighted samples carry as much information.
///
/// Between 1 and N; 0 if all weights are 0.
///
/// Source: Kish 1965.
pub fn effective_sample_size(weights: &[f32]) -> f64 {
    let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let squares: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// The β at which the mean over prompts of ESS/N is `target`, by bisection on its logarithm.
///
/// ESS/N rises with β from (1/N)·(number of best responses) to 1. It does not depend on W: every
/// value that is common to a prompt cancels. Prompts whose scores are all equal have ESS/N = 1 at
/// every β and are left out; if there are no others, any β will do and 1 is returned.
///
/// # Errors
/// [`AdvantageError::OutOfRange`] unless the target is between 0 and 1, both excluded;
/// [`AdvantageError::NonFinite`]; [`AdvantageError::TooFew`] without prompts. A target below what
/// β → 0 reaches gives the smallest β that is searched, 10⁻⁶ of the largest spread of scores.
pub fn temperature_for_ess<G: AsRef<[f32]>>(
    prompts: &[G],
    target: f64,
) -> Result<f64, AdvantageError> {
    check::inside_unit_interval("target", target)?;
    check::at_least(1, "prompts", prompts.len())?;
    for scores in prompts {
        check::at_least(1, "scores of a prompt", scores.as_ref().len())?;
        check::finite("scores", scores.as_ref())?;
    }
    let spread = |scores: &[f32]| {
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let bottom = scores.iter().copied().fold(f32::INFINITY, f32::min);
        f64::from(top) - f64::from(bottom)
    };
    let ranked: Vec<&[f32]> =
        prompts.iter().map(AsRef::as_ref).filter(|s| spread(s) > 0.0).collect();
    let Some(widest) = ranked.iter().map(|s| spread(s)).reduce(f64::max) else { return Ok(1.0) };
    let share = |temperature: f64| -> Result<f64, AdvantageError> {
        let weighting = Weighting { temperature, normaliser: Normaliser::Max, clip: None };
        let mut sum = 0.0;
        for scores in &ranked {
            sum += effective_sample_size(&weighting.weights(scores)?) / scores.len() as f64;
        }
        Ok(sum / ranked.len() as f64)
    };
    let (mut low, mut high) = ((widest * 1e-6).ln(), (widest * 1e6).ln());
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if share(middle.exp())? < target { low = middle } else { high = middle }
    }
    Ok(high.exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(normaliser: Normaliser, temperature: f64, clip: Option<f64>) -> Weighting {
        Weighting { temperature, normaliser, clip }
    }

    fn scores() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-4f32..4.0, 2..9)
    }

    proptest! {
        #[test]
        fn spr_weights_average_one_over_a_prompt(scores in scores(), beta in 0.1f64..5.0) {
            let w = with(Normaliser::SoftValue, beta, None).weights(&scores).unwrap();
            let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() / w.len() as f64;
            prop_assert!((mean - 1.0).abs() < 1e-6);
        }

        #[test]
        fn awr_is_spr_up_to_a_factor_of_the_prompt(scores in scores(), beta in 0.1f64..5.0) {
            let spr = with(Normaliser::SoftValue, beta, None).weights(&scores).unwrap();
            let awr = with(Normaliser::Mean, beta, None).weights(&scores).unwrap();
            let v = scores.iter().map(|&r| f64::from(r)).sum::<f64>() / scores.len() as f64;
            let factor = ((soft_value(&scores, beta).unwrap() - v) / beta).exp();
            for (s, a) in spr.iter().zip(&awr) {
                let want = f64::from(*s) * factor;
                prop_assert!((f64::from(*a) - want).abs() <= 1e-5 * want);
            }
        }

        #[test]
        fn the_effective_sample_size_reaches_its_target(
            prompts in prop::collection::vec(scores(), 3..6), target in 0.55f64..0.95,
        ) {
            let beta = temperature_for_ess(&prompts, target).unwrap();
            let share = |s: &Vec<f32>| {
                let w = with(Normaliser::SoftValue, beta, None).weights(s).unwrap();
                effective_sample_size(&w) / s.len() as f64
            };
            let reached = prompts.iter().map(share).sum::<f64>() / prompts.len() as f64;
            prop_assert!((reached - target).abs() < 1e-3, "{reached} at β = {beta}");
        }
    }

    #[test]
    fn one_response_is_plain_supervised_learning() {
        for normaliser in [Normaliser::SoftValue, Normaliser::Mean, Normaliser::Max] {
            assert_eq!(with(normaliser, 0.3, None).weights(&[7.5]).unwrap(), [1.0]);
        }
        let alone = with(Normaliser::LeaveOneOut, 0.3, None).weights(&[7.5]).unwrap_err();
        assert!(matches!(alone, AdvantageError::TooFew { count: 1, needed: 2, .. }));
    }

    #[test]
    fn equal_scores_have_equal_weights() {
        for normaliser in [Normaliser::SoftValue, Normaliser::LeaveOneOut, Normaliser::Mean] {
            let w = with(normaliser, 0.5, None).weights(&[2.0; 4]).unwrap();
            assert!(w.iter().all(|w| (w - 1.0).abs() < 1e-6), "{normaliser:?}: {w:?}");
        }
    }

    #[test]
    fn an_overflow_is_clipped_or_refused() {
        let scores = [0.0, 1e4];
        let clipped = with(Normaliser::Zero, 0.01, Some(20.0)).weights(&scores).unwrap();
        assert!((clipped[1] - 20.0).abs() < 1e-4);
        assert_eq!(clipped[0], 1.0);
        let overflow = with(Normaliser::Zero, 0.01, None).weights(&scores).unwrap_err();
        assert!(matches!(overflow, AdvantageError::NonFinite { what: "weights", index: 1, .. }));
        // SPR cannot overflow: a weight is at most N.
        let spr = with(Normaliser::SoftValue, 0.01, None).weights(&scores).unwrap();
        assert_eq!(spr, [0.0, 2.0]);
    }

    #[test]
    fn the_effective_sample_size_counts() {
        assert_eq!(effective_sample_size(&[1.0; 8]), 8.0);
        assert_eq!(effective_sample_size(&[0.0, 3.0, 0.0]), 1.0);
        assert_eq!(effective_sample_size(&[0.0; 3]), 0.0);
        assert!((effective_sample_size(&[1.0, 2.0]) - 9.0 / 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_target_that_cannot_be_reached_or_does_not_matter_has_a_value() {
        let equal = temperature_for_ess(&[[1.0, 1.0]], 0.5).unwrap();
        assert_eq!(equal, 1.0);
        // Two best of three never fall below 2/3.
        let least = temperature_for_ess(&[[1.0, 1.0, 0.0]], 0.5).unwrap();
        assert!((least - 1e-6).abs() < 1e-9);
        for bad in [0.0, 1.0, -0.5, f64::NAN] {
            let error = temperature_for_ess(&[[1.0, 0.0]], bad).unwrap_err();
            assert!(matches!(error, AdvantageError::OutOfRange { name: "target", .. }));
        }
        assert!(temperature_for_ess::<Vec<f32>>(&[], 0.5).is_err());
        assert!(temperature_for_ess(&[[1.0, f32::NAN]], 0.5).is_err());
    }

    #[test]
    fn settings_are_checked() {
        let bad = with(Normaliser::SoftValue, 0.0, None).weights(&[1.0, 2.0]).unwrap_err();
        assert!(matches!(bad, AdvantageError::OutOfRange { name: "temperature", .. }));
        let bad = with(Normaliser::SoftValue, 1.0, Some(0.0)).weights(&[1.0, 2.0]).unwrap_err();
        assert!(matches!(bad, AdvantageError::OutOfRange { name: "clip", .. }));
        let bad = Weighting::default().against(&[1.0], &[1.0, 2.0]).unwrap_err();
        assert!(matches!(bad, AdvantageError::LengthMismatch { .. }));
        let bad = Weighting::default().weights(&[1.0, f32::INFINITY]).unwrap_err();
        assert!(matches!(bad, AdvantageError::NonFinite { what: "scores", index: 1, .. }));
        let read = serde_json::from_str::<Weighting>;
        let read_one = read(r#"{"temperature": 0.5, "normaliser": "leave_one_out"}"#).unwrap();
        assert_eq!(read_one.normaliser, Normaliser::LeaveOneOut);
        assert!(read(r#"{"beta": 0.5}"#).is_err());
    }
}
