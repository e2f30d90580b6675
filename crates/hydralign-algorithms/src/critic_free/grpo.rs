use super::{Aggregation, CriticFreeConfig, KlInLoss};

impl CriticFreeConfig {
    /// GRPO, group relative policy optimisation (Shao et al. 2024, "DeepSeekMath", eq. 3).
    ///
    /// L = −(1/G)·Σ_i (1/|y_i|)·Σ_t [ min(ρ_t·A_i, clip(ρ_t, 1 ± ε)·A_i) − β·k3_t ]
    ///
    /// with A_i = (r_i − mean r)/(std r + 10⁻⁴), ε = 0.2 and β = 0.04. TRL's defaults differ: β = 0 and
    /// the aggregation of [`dapo`](Self::dapo).
    pub fn grpo() -> Self {
        Self {
            aggregation: Aggregation::SequenceMean,
            kl_loss: KlInLoss { coef: 0.04, corrected: false },
            ..Self::common()
        }
    }
}
