use crate::{AdvantageError, KlEstimator, check};
use serde::{Deserialize, Serialize};

/// How a score and the distance from the reference become per-token rewards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardShaping {
    /// Estimate of the KL at each token.
    pub estimator: KlEstimator,
    /// c: scores are clipped to [−c, c] (OpenRLHF 10, DeepSpeed-Chat 5); none leaves them.
    pub score_clip: Option<f32>,
    /// Subtracted from the score of a response that ran into the length limit, *after*
    /// clipping, so that an unfinished response scores below a finished one at the clip too.
    pub missing_eos_penalty: Option<f32>,
}

impl RewardShaping {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`AdvantageError::OutOfRange`] unless the clip is positive and the penalty not negative.
    pub fn validate(&self) -> Result<(), AdvantageError> {
        if let Some(clip) = self.score_clip {
            check::positive("score_clip", clip.into())?;
        }
        self.missing_eos_penalty
            .map_or(Ok(()), |p| check::not_negative("missing_eos_penalty", p.into()))
    }

    /// The score as it enters the reward: clipped, then penalised if the response was not
    /// `stopped` by a stop token.
    fn final_score(&self, score: f32, stopped: bool) -> f32 {
        let clipped = self.score_clip.map_or(score, |c| score.clamp(-c, c));
        let penalty = self.missing_eos_penalty.filter(|_| !stopped).unwrap_or(0.0);
        clipped - penalty
    }
}

/// Per-token rewards of one response, and what they were made of.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapedRewards {
    /// r_t, one per response token.
    pub rewards: Vec<f32>,
    /// The KL estimate at each response token, for the controller and the metrics.
    pub kl: Vec<f32>,
    /// The score that was added, after clipping and penalty.
    pub score: f32,
}

/// KL-shaped rewards of one response.
///
/// r_t = −kl_coef · kl_t + [t = T−1] · score
///
/// The score goes to the last *real* token, which is the stop token if there is one. `stopped`
/// is the generator's own statement that it sampled a stop token, not a comparison of ids.
///
/// # Shapes
/// `logprobs` and `ref_logprobs`: one per response token, T ≥ 1.
///
/// # Errors
/// [`AdvantageError::LengthMismatch`], [`AdvantageError::TooFew`] for T = 0,
/// [`AdvantageError::NonFinite`], [`AdvantageError::NotALogprob`] for placeholders, and
/// [`AdvantageError::OutOfRange`] for parameters.
///
/// Source: Ziegler et al. 2019, §2. Departure: lm-human-preferences and TRL's PPOTrainer put
/// the score on the padding token *after* the stop token (TRL issue #3750).
pub fn shape_rewards(
    logprobs: &[f32],
    ref_logprobs: &[f32],
    score: f32,
    stopped: bool,
    kl_coef: f64,
    shaping: &RewardShaping,
) -> Result<ShapedRewards, AdvantageError> {
    shaping.validate()?;
    check::not_negative("kl_coef", kl_coef)?;
    check::same_length(("logprobs", logprobs.len()), ("ref_logprobs", ref_logprobs.len()))?;
    check::at_least(1, "response tokens", logprobs.len())?;
    check::logprobs("logprobs", logprobs)?;
    check::logprobs("ref_logprobs", ref_logprobs)?;
    check::finite("score", &[score])?;

    let pairs = logprobs.iter().zip(ref_logprobs);
    let kl: Vec<f32> = pairs.map(|(&p, &q)| shaping.estimator.estimate(p, q)).collect();
    check::finite("kl", &kl)?;
    let score = shaping.final_score(score, stopped);
    let last = kl.len() - 1;
    let reward = |(t, &k): (usize, &f32)| {
        let bonus = if t == last { f64::from(score) } else { 0.0 };
        (bonus - kl_coef * f64::from(k)) as f32
    };
    Ok(ShapedRewards { rewards: kl.iter().enumerate().map(reward).collect(), kl, score })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(shaping: &RewardShaping, score: f32, stopped: bool) -> ShapedRewards {
        shape_rewards(&[-1.0, -2.0], &[-1.5, -1.0], score, stopped, 0.5, shaping).unwrap()
    }

    #[test]
    fn kl_everywhere_and_the_score_at_the_end() {
        let shaped = shape(&RewardShaping::default(), 3.0, true);
        assert_eq!(shaped.kl, [0.5, -1.0]);
        assert_eq!(shaped.rewards, [-0.25, 3.5]);
    }

    #[test]
    fn only_unstopped_responses_are_penalised_and_the_clip_does_not_hide_it() {
        let shaping = RewardShaping {
            score_clip: Some(2.0),
            missing_eos_penalty: Some(1.0),
            ..RewardShaping::default()
        };
        assert_eq!(shape(&shaping, 9.0, true).score, 2.0);
        assert_eq!(shape(&shaping, 9.0, false).score, 1.0);
        assert_eq!(shape(&shaping, -9.0, true).score, -2.0);
        assert_eq!(shape(&shaping, -9.0, false).score, -3.0);
    }

    #[test]
    fn faults_are_named() {
        let shaping = RewardShaping::default();
        let call = |p: &[f32], q: &[f32], s, c| shape_rewards(p, q, s, true, c, &shaping);
        let mismatch = call(&[-1.0], &[-1.0, -1.0], 0.0, 0.1).unwrap_err();
        assert_eq!(
            mismatch.to_string().split_once(':').unwrap().0,
            "1 logprobs but 2 ref_logprobs"
        );
        let nan = call(&[-1.0, f32::NAN], &[-1.0, -1.0], 0.0, 0.1).unwrap_err();
        assert!(matches!(nan, AdvantageError::NonFinite { what: "logprobs", index: 1, .. }));
        let score = call(&[-1.0], &[-1.0], f32::INFINITY, 0.1).unwrap_err();
        assert!(matches!(score, AdvantageError::NonFinite { what: "score", .. }));
        let coef = call(&[-1.0], &[-1.0], 0.0, -0.1).unwrap_err();
        assert!(matches!(coef, AdvantageError::OutOfRange { name: "kl_coef", .. }));
        let none = call(&[], &[], 0.0, 0.1).unwrap_err();
        assert!(matches!(none, AdvantageError::TooFew { what: "response tokens", .. }));
    }

    #[test]
    fn an_overflowing_ratio_is_an_error_and_not_a_number() {
        let shaping = RewardShaping { estimator: KlEstimator::K3, ..RewardShaping::default() };
        let overflow = shape_rewards(&[-100.0], &[-0.1], 0.0, true, 0.1, &shaping).unwrap_err();
        assert!(matches!(overflow, AdvantageError::NonFinite { what: "kl", index: 0, .. }));
    }

    #[test]
    fn parameters_and_keys_are_checked() {
        let clip = RewardShaping { score_clip: Some(0.0), ..RewardShaping::default() };
        assert!(matches!(
            clip.validate(),
            Err(AdvantageError::OutOfRange { name: "score_clip", .. })
        ));
        let penalty = RewardShaping { missing_eos_penalty: Some(-1.0), ..RewardShaping::default() };
        assert!(matches!(
            penalty.validate(),
            Err(AdvantageError::OutOfRange { name: "missing_eos_penalty", .. })
        ));
        let read = serde_json::from_str::<RewardShaping>;
        assert_eq!(read(r#"{"estimator": "k3"}"#).unwrap().estimator, KlEstimator::K3);
        assert!(read(r#"{"score_clips": 5}"#).is_err());
    }
}
