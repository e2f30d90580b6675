use crate::Readout;
use hydralign_core::{CoreError, Episode, Reading, Reward, Role, Roles, Sequence};
use hydralign_rollout::SamplerConfig;

/// The scores of episodes: one each, all of them finite.
///
/// # Errors
/// [`CoreError::Reward`] with what the reward reports; [`CoreError::ScoreCount`] and
/// [`CoreError::ScoreNotFinite`] for a reward that answers with the wrong number of scores or with NaN or ±∞.
pub fn scores_of(reward: &dyn Reward, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
    let scores = reward.score(episodes).map_err(|error| CoreError::Reward(Box::new(error)))?;
    if scores.len() != episodes.len() {
        return Err(CoreError::ScoreCount { expected: episodes.len(), got: scores.len() });
    }
    check_scores(&scores)?;
    Ok(scores)
}

pub(crate) fn check_scores(scores: &[f32]) -> Result<(), CoreError> {
    match scores.iter().position(|s| !s.is_finite()) {
        Some(episode) => Err(CoreError::ScoreNotFinite { episode, score: scores[episode] }),
        None => Ok(()),
    }
}

/// What a rollout is scored and credited from.
pub(crate) struct RolloutReadings {
    /// log π_old of each token at the sampling temperature, over the whole vocabulary.
    pub(crate) old: Vec<Vec<f32>>,
    /// The score of each episode.
    pub(crate) scores: Vec<f32>,
    /// What else was asked for.
    pub(crate) others: Readout,
}

impl RolloutReadings {
    /// Reads episodes in as few passes as the placement allows. Scores come from `reward`, or without
    /// one from the model's reward head.
    ///
    /// At temperature 1 log π_old is what generation recorded; at others it is read, for what was
    /// recorded is of the distribution after truncation and suppressed stop tokens.
    pub(crate) fn of<M: Roles>(
        model: &M,
        episodes: &[Episode],
        sampler: &SamplerConfig,
        reward: Option<&dyn Reward>,
        others: &[Reading],
        rows: usize,
    ) -> Result<Self, CoreError> {
        const ACTOR: Reading = Reading::Logprobs(Role::Actor);
        const SCORE: Reading = Reading::Score(Role::Reward);
        let recorded = sampler.temperature == 1.0;
        let mut readings = others.to_vec();
        readings.extend((!recorded).then_some(ACTOR));
        readings.extend(reward.is_none().then_some(SCORE));
        let sequences: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let mut read = Readout::of(model, &sequences, &readings, sampler.temperature, rows)?;
        let scores = match reward {
            Some(reward) => scores_of(reward, episodes)?,
            None => read.take(SCORE)?.concat(),
        };
        check_scores(&scores)?;
        let old = match recorded {
            true => episodes.iter().map(|e| e.policy_logprobs.clone()).collect(),
            false => read.take(ACTOR)?,
        };
        Ok(Self { old, scores, others: read })
    }
}
