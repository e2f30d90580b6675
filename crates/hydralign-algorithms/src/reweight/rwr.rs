use super::{Reweighting, Temperature};
use hydralign_advantage::Normaliser;

impl Reweighting {
    /// Reward-weighted regression: no baseline, scores brought to mean 0 and variance 1 (Peters and
    /// Schaal 2007; for language models Hu et al. 2023, "Aligning Language Models with Offline
    /// Learning from Human Feedback").
    ///
    /// w_i = min( exp(r̃_i/β), 20 )
    ///
    /// Prompts whose responses score high weigh more than others.
    pub fn rwr(temperature: Temperature) -> Self {
        Self { temperature, normaliser: Normaliser::Zero, clip: Some(20.0), standardise: true }
    }
}
