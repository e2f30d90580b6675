use crate::{AdvantageError, check};

/// R_t = Σ_{k≥t} γ^{k−t} r_k: the discounted sum of the rewards from each token on.
///
/// The advantage of REINFORCE++ (before its whitening over the batch) and of ReMax (whose last
/// reward is the score minus the score of the greedy response).
///
/// # Errors
/// [`AdvantageError::TooFew`] without rewards, [`AdvantageError::NonFinite`],
/// [`AdvantageError::OutOfRange`] unless γ is between 0 and 1.
pub fn returns_to_go(rewards: &[f32], gamma: f64) -> Result<Vec<f32>, AdvantageError> {
    check::unit_interval("gamma", gamma)?;
    check::at_least(1, "rewards", rewards.len())?;
    check::finite("rewards", rewards)?;
    let mut sum = 0.0;
    let mut returns: Vec<f32> = rewards
        .iter()
        .rev()
        .map(|&r| {
            sum = f64::from(r) + gamma * sum;
            sum as f32
        })
        .collect();
    returns.reverse();
    check::finite("returns", &returns)?;
    Ok(returns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gae;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_the_advantages_of_a_critic_that_knows_nothing(
            rewards in prop::collection::vec(-5f32..5.0, 1..9), gamma in 0f64..=1.0,
        ) {
            let credit = gae(&rewards, &vec![0.0; rewards.len()], gamma, 1.0).unwrap();
            let returns = returns_to_go(&rewards, gamma).unwrap();
            for (a, b) in returns.iter().zip(&credit.advantages) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn by_hand() {
        assert_eq!(returns_to_go(&[1.0, 2.0, 4.0], 0.5).unwrap(), [3.0, 4.0, 4.0]);
        assert_eq!(returns_to_go(&[1.0, 2.0, 4.0], 1.0).unwrap(), [7.0, 6.0, 4.0]);
    }

    #[test]
    fn faults_are_named() {
        assert!(matches!(returns_to_go(&[], 1.0), Err(AdvantageError::TooFew { .. })));
        assert!(matches!(returns_to_go(&[f32::NAN], 1.0), Err(AdvantageError::NonFinite { .. })));
        let gamma = returns_to_go(&[1.0], 1.5).unwrap_err();
        assert!(matches!(gamma, AdvantageError::OutOfRange { name: "gamma", .. }));
    }
}
