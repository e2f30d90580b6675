use super::{Aggregation, CreditRule, CriticFreeConfig, Surrogate};
use hydralign_advantage::{GroupAdvantage, GroupBaseline, GroupScale};

impl CriticFreeConfig {
    /// RLOO, REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, eq. 8).
    ///
    /// L = −(1/n)·Σ_i A_i·log π(y_i|x),  A_i = R_i − mean_{j≠i} R_j,  R = r − β·Σ_t log π/π_ref
    ///
    /// with β = 0.03 in the reward. One step per rollout: the samples are the policy's own. TRL steps
    /// on the clipped ratio of the whole response instead, which is `surrogate = clipped`,
    /// `ratio = sequence` and `aggregation = sequence_mean` here.
    pub fn rloo() -> Self {
        let advantage = GroupAdvantage {
            baseline: GroupBaseline::LeaveOneOut,
            scale: GroupScale::None,
            ..GroupAdvantage::default()
        };
        Self {
            credit: CreditRule::Group(advantage),
            surrogate: Surrogate::Reinforce,
            aggregation: Aggregation::SequenceSum,
            kl_reward: 0.03,
            ..Self::common()
        }
    }
}
