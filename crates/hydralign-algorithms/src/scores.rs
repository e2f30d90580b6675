use hydralign_core::{CoreError, Episode, Reward};

/// The scores of episodes: one each, all of them finite.
///
/// # Errors
/// What the reward reports; [`CoreError::ScoreCount`] and [`CoreError::ScoreNotFinite`] for a
/// reward that answers with the wrong number of scores or with NaN or ±∞.
pub fn scores_of(reward: &dyn Reward, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
    let scores = reward.score(episodes)?;
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
