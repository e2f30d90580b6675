use super::{Aggregation, CreditRule, CriticFreeConfig};
use hydralign_advantage::{GroupAdvantage, GroupScale};

impl CriticFreeConfig {
    /// Dr. GRPO: GRPO without its two normalisations, which favour long wrong answers and easy or
    /// hard prompts (Liu et al. 2025, "Understanding R1-Zero-Like Training", §3).
    ///
    /// L = −(1/(n·L_max))·Σ_i Σ_t min(ρ_t·A_i, clip(ρ_t, 1 ± ε)·A_i),  A_i = r_i − mean r
    ///
    /// `length` is L_max, the longest possible response. ε = 0.2, no KL.
    pub fn dr_grpo(length: usize) -> Self {
        let advantage = GroupAdvantage { scale: GroupScale::None, ..GroupAdvantage::default() };
        Self {
            credit: CreditRule::Group(advantage),
            aggregation: Aggregation::Constant { length },
            ..Self::common()
        }
    }
}
