use crate::AlgorithmError;
use hydralign_advantage::{AdvantageError, GroupAdvantage, Variance, returns_to_go, whiten};
use serde::{Deserialize, Serialize};

/// What is subtracted from a response's score before its return is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnBaseline {
    /// Nothing: REINFORCE++.
    #[default]
    None,
    /// The mean score of the group: REINFORCE++-baseline.
    GroupMean,
    /// The score of the greedy response to the same prompt: ReMax.
    Greedy,
}

/// From the scores and KL penalties of a rollout to advantages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CreditRule {
    /// One advantage per response, compared with its group. A KL penalty in the reward counts as a
    /// sum over the response.
    Group(GroupAdvantage),
    /// One advantage per token: the return from it on.
    ReturnToGo {
        /// γ.
        gamma: f64,
        /// What is subtracted from the score.
        baseline: ReturnBaseline,
        /// Normalise over all tokens of the batch.
        whiten: bool,
    },
}

impl Default for CreditRule {
    fn default() -> Self {
        CreditRule::Group(GroupAdvantage::default())
    }
}

/// What one response earned.
#[derive(Clone, Debug)]
pub(super) struct Earned {
    /// The score after clipping and penalties.
    pub(super) score: f32,
    /// −β·kl_t of each token.
    pub(super) penalties: Vec<f32>,
}

impl CreditRule {
    pub(super) fn validate(&self) -> Result<(), AlgorithmError> {
        let CreditRule::ReturnToGo { gamma, .. } = *self else { return Ok(()) };
        returns_to_go(&[0.0], gamma)?;
        Ok(())
    }

    /// Advantages of every token of every response, group by group.
    ///
    /// `greedy` holds the score of the greedy response of each group, where the rule asks for it.
    pub(super) fn advantages(
        &self,
        groups: &[Vec<Earned>],
        greedy: Option<&[f32]>,
    ) -> Result<Vec<Vec<Vec<f32>>>, AlgorithmError> {
        match *self {
            CreditRule::Group(rule) => Ok(by_response(groups, &rule)?),
            CreditRule::ReturnToGo { gamma, baseline, whiten: normalise } => {
                let baselines = baselines(groups, baseline, greedy)?;
                let mut all = Vec::new();
                for (group, baseline) in groups.iter().zip(baselines) {
                    for earned in group {
                        let mut rewards = earned.penalties.clone();
                        if let Some(last) = rewards.last_mut() {
                            *last += earned.score - baseline;
                        }
                        all.push(returns_to_go(&rewards, gamma)?);
                    }
                }
                if normalise {
                    whiten(&mut all, true, Variance::Biased)?;
                }
                let mut all = all.into_iter();
                Ok(groups.iter().map(|group| all.by_ref().take(group.len()).collect()).collect())
            }
        }
    }
}

fn by_response(
    groups: &[Vec<Earned>],
    rule: &GroupAdvantage,
) -> Result<Vec<Vec<Vec<f32>>>, AdvantageError> {
    let total = |e: &Earned| e.score + e.penalties.iter().sum::<f32>();
    let totals: Vec<Vec<f32>> = groups.iter().map(|g| g.iter().map(total).collect()).collect();
    let advantages = rule.advantages(&totals)?;
    let spread = |(group, advantages): (&Vec<Earned>, Vec<f32>)| {
        group.iter().zip(advantages).map(|(e, a)| vec![a; e.penalties.len()]).collect()
    };
    Ok(groups.iter().zip(advantages).map(spread).collect())
}

fn baselines(
    groups: &[Vec<Earned>],
    baseline: ReturnBaseline,
    greedy: Option<&[f32]>,
) -> Result<Vec<f32>, AlgorithmError> {
    match baseline {
        ReturnBaseline::None => Ok(vec![0.0; groups.len()]),
        ReturnBaseline::Greedy => match greedy {
            Some(scores) if scores.len() == groups.len() => Ok(scores.to_vec()),
            _ => Err(AlgorithmError::Empty { what: "greedy response of every prompt" }),
        },
        ReturnBaseline::GroupMean => groups.iter().map(|group| group_mean(group)).collect(),
    }
}

fn group_mean(group: &[Earned]) -> Result<f32, AlgorithmError> {
    if group.len() < 2 {
        let (what, count) = ("responses in a group", group.len());
        return Err(AdvantageError::TooFew { what, count, needed: 2 }.into());
    }
    let sum: f64 = group.iter().map(|e| f64::from(e.score)).sum();
    Ok((sum / group.len() as f64) as f32)
}
