use hydralign_placement::ModelShape;
use serde_json::Value;

/// How rotary positions are scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rope {
    /// θ_i = base^(−2i/d) (Su et al. 2021).
    Plain {
        /// Base of the frequencies.
        base: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, with a smooth band between.
    Llama3 {
        /// Base of the frequencies.
        base: f64,
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths longer than `original / low` are scaled in full.
        low: f64,
        /// Wavelengths shorter than `original / high` are not scaled.
        high: f64,
        /// Context length before scaling.
        original: f64,
    },
}

/// Everything about a decoder that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Sizes.
    pub shape: ModelShape,
    /// ε of the RMS norms.
    pub norm_eps: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Positions that the model was made for.
    pub context: usize,
    /// The `config.json` that it came from, written back unchanged when the model is saved.
    pub config: Value,
}
