use super::WeightedSequence;
use crate::AlgorithmError;
use hydralign_advantage::Selection;
use hydralign_core::Sequence;

/// The responses that a choice keeps, for supervised learning on them: RAFT and best-of-N with
/// [`Selection::Best`], ReST with a rising [`Selection::Quantile`] or [`Selection::Above`].
///
/// # Errors
/// Scores that are not finite, empty groups, settings out of range; [`AlgorithmError::Empty`] if
/// nothing passes.
pub fn kept(
    groups: &[Vec<Sequence>],
    scores: &[Vec<f32>],
    selection: Selection,
) -> Result<Vec<WeightedSequence>, AlgorithmError> {
    let weights = selection.weights(scores)?.concat();
    let rows = groups.iter().flatten().zip(weights).filter(|(_, w)| *w > 0.0);
    let rows: Vec<_> = rows.map(|(s, w)| WeightedSequence::uniform(s.clone(), w)).collect();
    match rows.is_empty() {
        true => Err(AlgorithmError::Empty { what: "responses above the threshold" }),
        false => Ok(rows),
    }
}

/// The best response of each group, by score: best-of-N as sampling. Of equals the first.
pub fn best_of<T: Clone>(groups: &[Vec<T>], scores: &[Vec<f32>]) -> Vec<T> {
    let best = |(group, scores): (&Vec<T>, &Vec<f32>)| {
        let top = (0..group.len().min(scores.len()))
            .reduce(|best, i| if scores[i] > scores[best] { i } else { best });
        top.map(|i| group[i].clone())
    };
    groups.iter().zip(scores).filter_map(best).collect()
}
