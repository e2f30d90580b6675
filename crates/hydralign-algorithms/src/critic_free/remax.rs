use super::{CreditRule, CriticFreeConfig, ReturnBaseline, Surrogate};

impl CriticFreeConfig {
    /// ReMax: REINFORCE with the score of the *greedy* response as the baseline (Li et al. 2023,
    /// eq. 5).
    ///
    /// L = −Σ_t w_t·R_t·log π(y_t),  R_t = Σ_{k≥t} γ^{k−t}·(−β·kl_k) + γ^{T−t}·(r(y) − r(greedy))
    ///
    /// w is one over the tokens of the batch, γ = 0.99 and β = 0.05 as in the authors' scripts. It
    /// needs one response per prompt, and a greedy one beside it.
    ///
    /// The authors' code departs from the equation, and this follows the equation, as verl does: in
    /// the code R_t holds the KL of token t alone, one more factor γ, and the difference of the scores is
    /// clipped to ±5.
    pub fn remax() -> Self {
        let baseline = ReturnBaseline::Greedy;
        Self {
            credit: CreditRule::ReturnToGo { gamma: 0.99, baseline, whiten: false },
            surrogate: Surrogate::Reinforce,
            kl_reward: 0.05,
            ..Self::common()
        }
    }
}
