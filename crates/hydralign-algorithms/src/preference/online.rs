use super::Pair;
use crate::AlgorithmError;
use crate::rollout_readings::check_scores;
use hydralign_core::Sequence;

/// Pairs from scored samples: the best response of each group against its worst, for online and
/// iterative DPO (Guo et al. 2024; Xiong et al. 2024) with a reward model, a verifier or a judge.
///
/// Groups whose scores are all equal, and pairs of equal responses, give no pair.
///
/// # Errors
/// Scores that are not finite.
pub fn ranked_pairs(
    groups: &[Vec<Sequence>],
    scores: &[Vec<f32>],
) -> Result<Vec<Pair>, AlgorithmError> {
    let mut pairs = Vec::new();
    for (group, scores) in groups.iter().zip(scores) {
        check_scores(scores)?;
        let by_score = |a: &usize, b: &usize| scores[*a].total_cmp(&scores[*b]);
        let all = || 0..group.len().min(scores.len());
        let (Some(best), Some(worst)) = (all().rev().max_by(by_score), all().min_by(by_score))
        else {
            continue;
        };
        if scores[best] > scores[worst] && group[best] != group[worst] {
            let (chosen, rejected) = (group[best].clone(), group[worst].clone());
            pairs.push(Pair { chosen, rejected, reference: None });
        }
    }
    Ok(pairs)
}
