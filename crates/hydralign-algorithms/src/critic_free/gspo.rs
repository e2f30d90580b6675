use super::{Aggregation, CriticFreeConfig, RatioLevel, Surrogate};

impl CriticFreeConfig {
    /// GSPO, group sequence policy optimisation (Zheng et al. 2025, eq. 5): the ratio and its clip
    /// are those of the whole response.
    ///
    /// L = −(1/G)·Σ_i min(s_i·A_i, clip(s_i, 1 − ε, 1 + ε_high)·A_i),  s_i = (π(y_i)/π_old(y_i))^{1/|y_i|}
    ///
    /// with the advantages of GRPO, ε = 3·10⁻⁴ and ε_high = 4·10⁻⁴: a geometric mean moves little.
    pub fn gspo() -> Self {
        Self {
            surrogate: Surrogate::clipped(3e-4, 4e-4),
            ratio: RatioLevel::SequenceMean,
            aggregation: Aggregation::SequenceMean,
            ..Self::common()
        }
    }
}
