use crate::RewardError;
use hydralign_core::{CoreError, Episode};
use hydralign_data::TextTokenizer;

/// The scores of episodes that are scored one by one, all of them finite.
pub(crate) fn each(
    episodes: &[Episode],
    score: impl Fn(&Episode) -> Result<f32, RewardError>,
) -> Result<Vec<f32>, CoreError> {
    let scored = episodes.iter().enumerate().map(|(index, episode)| {
        score(episode)
            .map_err(|error| RewardError::Episode { episode: index, error: Box::new(error) })
    });
    let scores: Vec<f32> = scored.collect::<Result<_, _>>()?;
    all_finite(&scores)?;
    Ok(scores)
}

pub(crate) fn all_finite(scores: &[f32]) -> Result<(), CoreError> {
    match scores.iter().position(|s| !s.is_finite()) {
        Some(episode) => Err(CoreError::ScoreNotFinite { episode, score: scores[episode] }),
        None => Ok(()),
    }
}

/// Text without special tokens: the end of a response is no part of what it says.
pub(crate) fn decode(tokenizer: &TextTokenizer, ids: &[u32]) -> Result<String, RewardError> {
    tokenizer.decode(ids, true).map_err(|error| RewardError::Decode { error })
}

pub(crate) fn finite(name: &'static str, value: f32) -> Result<(), RewardError> {
    let error = || RewardError::OutOfRange { name, value: value.into(), expected: "finite" };
    if value.is_finite() { Ok(()) } else { Err(error()) }
}

/// 1 for a response that is right, 0 for any other.
pub(crate) fn one_if(right: bool) -> f32 {
    f32::from(u8::from(right))
}
