use super::{CriticFreeConfig, Surrogate};
use crate::AlgorithmError;
use crate::settings::check_counts;
use hydralign_advantage::{OverlongPenalty, informative_groups};
use hydralign_core::Episode;
use serde::{Deserialize, Serialize};

impl CriticFreeConfig {
    /// DAPO: a wider clip above 1, a mean over tokens, shaped lengths, no KL (Yu et al. 2025, eq. 8).
    ///
    /// L = −(1/Σ|y_i|)·Σ_i Σ_t min(ρ_t·A_i, clip(ρ_t, 1 − ε, 1 + ε_high)·A_i)
    ///
    /// with the advantages of GRPO, ε = 0.2 and ε_high = 0.28. Its dynamic sampling is
    /// [`DynamicSampling`]: groups whose scores are all equal are drawn anew.
    pub fn dapo(overlong: Option<OverlongPenalty>) -> Self {
        Self { surrogate: Surrogate::clipped(0.2, 0.28), overlong, ..Self::common() }
    }
}

/// Draws prompts until enough groups have something to teach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicSampling {
    /// Groups that a rollout shall have.
    pub groups: usize,
    /// Rounds of sampling after which fewer are enough.
    pub rounds: usize,
}

/// What dynamic sampling found.
#[derive(Clone, Debug)]
pub struct Informative {
    /// Groups whose scores differ, at most as many as asked for.
    pub groups: Vec<Vec<Episode>>,
    /// Their scores.
    pub scores: Vec<Vec<f32>>,
    /// Groups that were drawn in all.
    pub drawn: usize,
}

impl DynamicSampling {
    /// Calls `round`, which samples and scores some groups (given the number of the round and how
    /// many groups are missing), until enough groups have unequal scores or the rounds are over.
    ///
    /// # Errors
    /// What `round` reports; [`AlgorithmError::Empty`] if no group at all has unequal scores;
    /// [`AlgorithmError::Setting`] for counts of 0.
    pub fn collect<E: From<AlgorithmError>>(
        &self,
        mut round: impl FnMut(usize, usize) -> Result<Vec<(Vec<Episode>, Vec<f32>)>, E>,
    ) -> Result<Informative, E> {
        check_counts(&[("groups", self.groups), ("rounds", self.rounds)])?;
        let mut found = Informative { groups: Vec::new(), scores: Vec::new(), drawn: 0 };
        for number in 0..self.rounds {
            let missing = self.groups - found.groups.len();
            let (groups, scores): (Vec<_>, Vec<_>) = round(number, missing)?.into_iter().unzip();
            found.drawn += groups.len();
            let keep = informative_groups(&scores);
            for (i, (group, scores)) in groups.into_iter().zip(scores).enumerate() {
                if keep.contains(&i) && found.groups.len() < self.groups {
                    found.groups.push(group);
                    found.scores.push(scores);
                }
            }
            if found.groups.len() == self.groups {
                break;
            }
        }
        match found.groups.is_empty() {
            true => Err(AlgorithmError::Empty { what: "groups with unequal scores" }.into()),
            false => Ok(found),
        }
    }
}
