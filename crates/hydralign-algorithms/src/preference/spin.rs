use super::Pair;
use hydralign_core::{Episode, Sequence};

/// The pairs of SPIN, self-play fine-tuning: the demonstration of each prompt is chosen, what the
/// current policy answered is rejected (Chen et al. 2024, alg. 1).
///
/// The loss is that of [`Dpo`](super::Dpo) or [`Hinge`](super::Hinge), and the reference is the
/// policy that answered: the one before this iteration. Prompts where the policy answered what was
/// demonstrated are left out: such a pair has nothing to teach.
pub fn spin_pairs(demonstrations: &[Sequence], answers: &[Episode]) -> Vec<Pair> {
    let pair = |(real, answer): (&Sequence, &Episode)| Pair {
        chosen: real.clone(),
        rejected: Sequence::new(real.prompt.clone(), answer.response.clone()),
        reference: None,
    };
    demonstrations.iter().zip(answers).map(pair).filter(|p| p.chosen != p.rejected).collect()
}
