use super::{Reweighting, Temperature};
use hydralign_advantage::Normaliser;

impl Reweighting {
    /// Advantage-weighted regression with the mean score of the prompt as its value (Peng et al.
    /// 2019, eq. 11; weights clipped at 20 as in the authors' code).
    ///
    /// w_i = min( exp((r_i − V(x))/β), 20 ),  V(x) = (1/N)Σ_j r_j
    ///
    /// The scores are not normalised by their standard deviation here, as the authors' code does
    /// with advantages; β is then in units of the score.
    pub fn awr(temperature: Temperature) -> Self {
        Self { temperature, normaliser: Normaliser::Mean, clip: Some(20.0), standardise: false }
    }
}
