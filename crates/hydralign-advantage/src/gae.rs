use crate::{AdvantageError, check};

/// Advantages and value targets of one episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Credit {
    /// A_t, not whitened.
    pub advantages: Vec<f32>,
    /// A_t + V_t: what the critic learns. Whitening the advantages later does not touch them.
    pub returns: Vec<f32>,
}

/// Credits the tokens of an episode from its rewards and values: generalised advantage estimation, or a rule of
/// your own.
pub trait AdvantageEstimator {
    /// Advantages and value targets of one episode. `rewards` and `values` have one entry per response token; V_t is
    /// the value of the state *before* token t.
    ///
    /// # Errors
    /// What keeps the episode from being credited.
    fn credit(&self, rewards: &[f32], values: &[f32]) -> Result<Credit, AdvantageError>;
}

/// [`gae`] with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gae {
    /// γ.
    pub gamma: f64,
    /// λ.
    pub lambda: f64,
}

impl AdvantageEstimator for Gae {
    fn credit(&self, rewards: &[f32], values: &[f32]) -> Result<Credit, AdvantageError> {
        gae(rewards, values, self.gamma, self.lambda)
    }
}

/// Generalised advantage estimation over one episode.
///
/// δ_t = r_t + γ·V_{t+1} − V_t,  V_T = 0
/// A_t = δ_t + γλ·A_{t+1},  A_T = 0
/// returns_t = A_t + V_t
///
/// # Shapes
/// `rewards` and `values`: one per response token; V_t is the value of the state *before*
/// token t.
///
/// # Errors
/// [`AdvantageError::LengthMismatch`], [`AdvantageError::TooFew`] for an empty episode,
/// [`AdvantageError::NonFinite`], and [`AdvantageError::OutOfRange`] unless γ and λ are between
/// 0 and 1.
///
/// Source: Schulman et al. 2016, eq. 16. Departure: a response always ends its episode, so
/// the value after the last token is 0 also where the length limit cut it.
pub fn gae(
    rewards: &[f32],
    values: &[f32],
    gamma: f64,
    lambda: f64,
) -> Result<Credit, AdvantageError> {
    check::same_length(("rewards", rewards.len()), ("values", values.len()))?;
    check::at_least(1, "response tokens", rewards.len())?;
    check::unit_interval("gamma", gamma)?;
    check::unit_interval("lambda", lambda)?;
    check::finite("rewards", rewards)?;
    check::finite("values", values)?;

    let mut credit =
        Credit { advantages: vec![0.0; rewards.len()], returns: vec![0.0; rewards.len()] };
    let (mut advantage, mut next_value) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let value = f64::from(values[t]);
        let delta = f64::from(rewards[t]) + gamma * next_value - value;
        advantage = delta + gamma * lambda * advantage;
        credit.advantages[t] = advantage as f32;
        credit.returns[t] = (advantage + value) as f32;
        next_value = value;
    }
    Ok(credit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn episode() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        let steps = prop::collection::vec((-5f32..5.0, -5f32..5.0), 1..30);
        steps.prop_map(|s| s.into_iter().unzip())
    }

    /// Σ_k γ^k r_{t+k}, summed forwards.
    fn monte_carlo(rewards: &[f32], gamma: f64) -> f64 {
        rewards.iter().enumerate().map(|(k, &r)| gamma.powi(k as i32) * f64::from(r)).sum()
    }

    proptest! {
        #[test]
        fn lambda_1_is_monte_carlo_minus_value((r, v) in episode(), gamma in 0.0..=1.0) {
            let credit = gae(&r, &v, gamma, 1.0).unwrap();
            for t in 0..r.len() {
                let sum = monte_carlo(&r[t..], gamma);
                prop_assert!((f64::from(credit.returns[t]) - sum).abs() < 1e-4);
                let advantage = sum - f64::from(v[t]);
                prop_assert!((f64::from(credit.advantages[t]) - advantage).abs() < 1e-4);
            }
        }

        #[test]
        fn lambda_0_is_the_temporal_difference((r, v) in episode(), gamma in 0.0..=1.0) {
            let credit = gae(&r, &v, gamma, 0.0).unwrap();
            for t in 0..r.len() {
                let next = v.get(t + 1).map_or(0.0, |&v| gamma * f64::from(v));
                let delta = f64::from(r[t]) + next - f64::from(v[t]);
                prop_assert!((f64::from(credit.advantages[t]) - delta).abs() < 1e-5);
            }
        }

        #[test]
        fn a_perfect_critic_leaves_no_advantage((r, _) in episode(), gamma in 0.0..=1.0,
                                                lambda in 0.0..=1.0) {
            let values: Vec<f32> =
                (0..r.len()).map(|t| monte_carlo(&r[t..], gamma) as f32).collect();
            let credit = gae(&r, &values, gamma, lambda).unwrap();
            prop_assert!(credit.advantages.iter().all(|a| a.abs() < 1e-3));
        }

        #[test]
        fn credit_flows_backwards_only((r, v) in episode(), at in any::<prop::sample::Index>()) {
            let at = at.index(r.len());
            let mut changed = r.clone();
            changed[at] += 1.0;
            let (before, after) =
                (gae(&r, &v, 0.9, 0.8).unwrap(), gae(&changed, &v, 0.9, 0.8).unwrap());
            prop_assert_eq!(&before.advantages[at + 1..], &after.advantages[at + 1..]);
            for t in 0..=at {
                let moved = f64::from(after.advantages[t]) - f64::from(before.advantages[t]);
                prop_assert!((moved - 0.72f64.powi((at - t) as i32)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn faults_are_named() {
        let length = gae(&[1.0], &[1.0, 2.0], 1.0, 1.0).unwrap_err();
        assert!(matches!(length, AdvantageError::LengthMismatch { left_len: 1, right_len: 2, .. }));
        let nan = gae(&[1.0, 1.0], &[1.0, f32::NAN], 1.0, 1.0).unwrap_err();
        assert!(matches!(nan, AdvantageError::NonFinite { what: "values", index: 1, .. }));
        let gamma = gae(&[1.0], &[1.0], 1.01, 1.0).unwrap_err();
        assert_eq!(gamma.to_string(), "gamma is 1.01, but must be between 0 and 1");
        let lambda = gae(&[1.0], &[1.0], 1.0, f64::NAN).unwrap_err();
        assert!(matches!(lambda, AdvantageError::OutOfRange { name: "lambda", .. }));
        assert!(matches!(gae(&[], &[], 1.0, 1.0), Err(AdvantageError::TooFew { .. })));
    }
}
