use super::{CreditRule, CriticFreeConfig, ReturnBaseline};

impl CriticFreeConfig {
    /// REINFORCE++: PPO's clip, the KL in the reward, returns in place of a critic, advantages
    /// normalised over the whole batch (Hu et al. 2025, §3).
    ///
    /// L = Σ_t w_t·max(−A_t·ρ_t, −A_t·clip(ρ_t, 1 ± ε)),  A = whiten(Σ_{k≥t} γ^{k−t}·r_k),
    /// r_t = −β·kl_t + \[t is last\]·(score − b)
    ///
    /// with ε = 0.2, γ = 1 and β = 0.01. b is 0; with `baseline` it is the mean score of the group,
    /// which is the method's second form.
    pub fn reinforce_pp(baseline: bool) -> Self {
        let baseline = if baseline { ReturnBaseline::GroupMean } else { ReturnBaseline::None };
        Self {
            credit: CreditRule::ReturnToGo { gamma: 1.0, baseline, whiten: true },
            kl_reward: 0.01,
            ..Self::common()
        }
    }
}
