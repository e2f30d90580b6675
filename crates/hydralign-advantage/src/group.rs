use crate::{AdvantageError, Moments, Variance, check};
use serde::{Deserialize, Serialize};

/// What is subtracted from a response's score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBaseline {
    /// Nothing.
    None,
    /// The mean of the group, the response itself included: GRPO (Shao et al. 2024).
    #[default]
    Mean,
    /// The mean of the *other* responses: RLOO (Ahmadian et al. 2024). Independent of the
    /// response that it is subtracted from, so the policy gradient stays unbiased. It is the mean
    /// baseline times N/(N − 1).
    LeaveOneOut,
}

/// What the difference is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupScale {
    /// 1: Dr. GRPO (Liu et al. 2025), RLOO.
    None,
    /// The standard deviation of the group's scores: GRPO.
    #[default]
    Group,
    /// The standard deviation of all scores of the batch (Hu et al. 2025, REINFORCE++-baseline
    /// divides so after the mean of the group is subtracted; TRL `scale_rewards="batch"`).
    Batch,
}

/// Advantages of responses from the scores of their group, without a critic.
///
/// A_i = (r_i − b_i)/(σ + ε)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupAdvantage {
    /// b.
    pub baseline: GroupBaseline,
    /// σ.
    pub scale: GroupScale,
    /// ε. Where all scores of a group are equal, advantages are 0 whatever it is.
    pub epsilon: f64,
}

impl Default for GroupAdvantage {
    /// GRPO with the ε of TRL, 10⁻⁴.
    fn default() -> Self {
        Self { baseline: GroupBaseline::Mean, scale: GroupScale::Group, epsilon: 1e-4 }
    }
}

impl GroupAdvantage {
    /// One advantage per response, group by group. σ is that of the unbiased variance.
    ///
    /// # Errors
    /// [`AdvantageError::TooFew`] for a group of fewer than two responses where a baseline or the
    /// group's σ is asked for: a response compared with itself alone teaches nothing.
    /// [`AdvantageError::NonFinite`]; [`AdvantageError::OutOfRange`] for ε.
    pub fn advantages<G: AsRef<[f32]>>(
        &self,
        groups: &[G],
    ) -> Result<Vec<Vec<f32>>, AdvantageError> {
        check::not_negative("epsilon", self.epsilon)?;
        let alone_is_fine = self.baseline == GroupBaseline::None && self.scale != GroupScale::Group;
        let needed = if alone_is_fine { 1 } else { 2 };
        for scores in groups {
            check::at_least(needed, "responses in a group", scores.as_ref().len())?;
            check::finite("scores", scores.as_ref())?;
        }
        let batch = Moments::of(groups);
        let one = |scores: &G| {
            let scores = scores.as_ref();
            let group = Moments::of(&[scores]);
            let divisor = match self.scale {
                GroupScale::None => None,
                GroupScale::Group => group.variance(Variance::Unbiased),
                GroupScale::Batch => batch.variance(Variance::Unbiased),
            };
            let scale = divisor.map_or(1.0, |v| reciprocal(v.sqrt() + self.epsilon));
            scores.iter().map(|&r| (self.lead(r, &group) * scale) as f32).collect()
        };
        Ok(groups.iter().map(one).collect())
    }

    /// r − b.
    fn lead(&self, score: f32, group: &Moments) -> f64 {
        let (score, n) = (f64::from(score), group.count() as f64);
        let mean = group.mean().unwrap_or(score);
        match self.baseline {
            GroupBaseline::None => score,
            GroupBaseline::Mean => score - mean,
            GroupBaseline::LeaveOneOut => (score - mean) * n / (n - 1.0),
        }
    }
}

/// 1/x, and 0 where there is no spread at all.
fn reciprocal(x: f64) -> f64 {
    if x > 0.0 { x.recip() } else { 0.0 }
}

/// Indices of the groups whose scores are not all equal: the others have no advantage, and
/// DAPO's dynamic sampling draws new prompts in their place (Yu et al. 2025, §3.2).
pub fn informative_groups<G: AsRef<[f32]>>(groups: &[G]) -> Vec<usize> {
    let differs = |scores: &[f32]| scores.windows(2).any(|pair| pair[0] != pair[1]);
    (0..groups.len()).filter(|&i| differs(groups[i].as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(baseline: GroupBaseline, scale: GroupScale) -> GroupAdvantage {
        GroupAdvantage { baseline, scale, ..GroupAdvantage::default() }
    }

    proptest! {
        #[test]
        fn each_response_is_compared_with_the_others(
            scores in prop::collection::vec(-5f32..5.0, 2..8),
        ) {
            let loo = with(GroupBaseline::LeaveOneOut, GroupScale::None);
            let found = &loo.advantages(&[&scores]).unwrap()[0];
            for (i, a) in found.iter().enumerate() {
                let others = scores.iter().enumerate().filter(|(j, _)| *j != i);
                let mean = others.map(|(_, r)| r).sum::<f32>() / (scores.len() - 1) as f32;
                prop_assert!((a - (scores[i] - mean)).abs() < 1e-4);
            }
        }

        #[test]
        fn shifting_or_scaling_a_group_changes_no_grpo_advantage(
            scores in prop::collection::vec(-5f32..5.0, 3..8), shift in -9f32..9.0,
        ) {
            prop_assume!(Moments::of(&[&scores]).variance(Variance::Unbiased) > Some(0.1));
            let grpo = GroupAdvantage { epsilon: 0.0, ..GroupAdvantage::default() };
            let moved: Vec<f32> = scores.iter().map(|r| 3.0 * r + shift).collect();
            let found = grpo.advantages(&[scores, moved]).unwrap();
            for (a, b) in found[0].iter().zip(&found[1]) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_group_of_one_is_refused_with_a_clear_error() {
        let groups = [vec![1.0, 2.0], vec![3.0]];
        let error = GroupAdvantage::default().advantages(&groups).unwrap_err();
        assert_eq!(error.to_string(), "1 responses in a group, but at least 2 are needed");
        for (baseline, scale) in [
            (GroupBaseline::Mean, GroupScale::None),
            (GroupBaseline::LeaveOneOut, GroupScale::Batch),
            (GroupBaseline::None, GroupScale::Group),
        ] {
            assert!(with(baseline, scale).advantages(&groups).is_err());
        }
        let plain = with(GroupBaseline::None, GroupScale::None).advantages(&groups).unwrap();
        assert_eq!(plain, groups);
    }

    #[test]
    fn equal_scores_have_no_advantage_even_without_an_epsilon() {
        for scale in [GroupScale::None, GroupScale::Group, GroupScale::Batch] {
            let advantage = GroupAdvantage { scale, epsilon: 0.0, ..GroupAdvantage::default() };
            assert_eq!(advantage.advantages(&[[0.1; 3], [0.1; 3]]).unwrap(), [[0.0; 3], [0.0; 3]]);
        }
        assert_eq!(informative_groups(&[vec![1.0; 3], vec![1.0, 2.0], vec![0.0]]), [1]);
    }

    #[test]
    fn faults_are_named() {
        let nan = GroupAdvantage::default().advantages(&[[1.0, f32::NAN]]).unwrap_err();
        assert!(matches!(nan, AdvantageError::NonFinite { what: "scores", index: 1, .. }));
        let bad = GroupAdvantage { epsilon: -1.0, ..GroupAdvantage::default() };
        let error = bad.advantages(&[[1.0, 2.0]]).unwrap_err();
        assert!(matches!(error, AdvantageError::OutOfRange { name: "epsilon", .. }));
        let read = serde_json::from_str::<GroupAdvantage>;
        let dr = read(r#"{"scale": "none"}"#).unwrap();
        assert_eq!(dr, with(GroupBaseline::Mean, GroupScale::None));
        assert!(read(r#"{"std": true}"#).is_err());
    }
}
