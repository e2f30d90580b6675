use crate::{Family, FamilyError};
use hydralign_placement::ModelShape;
use serde_json::Value;
use std::path::Path;

/// Rotary positions of a kind of layer (Su et al. 2021).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies: θ_i = base^(−2i/d).
    pub base: f64,
    /// How the frequencies are scaled for longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor` (Chen et al. 2023).
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, with a smooth band between.
    Llama3 {
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

/// How a decoder knows positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// Queries and keys are rotated.
    Rotary {
        /// Dimensions of each head that are rotated; the rest pass through.
        dims: usize,
        /// Of layers that see everything before them.
        full: Rope,
        /// Of layers with a sliding window.
        sliding: Rope,
    },
    /// A table of learned positions is added to the embedding.
    Learned {
        /// Row of the first position (2 in OPT).
        offset: usize,
    },
}

/// Which layers see only a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sliding {
    /// None.
    Never,
    /// All.
    Always,
    /// All from this layer on (Qwen2's `max_window_layers`).
    From(usize),
    /// All but every n-th (Gemma: layers n−1, 2n−1, … see everything).
    ExceptEvery(usize),
    /// As listed, layer by layer.
    Listed(Vec<bool>),
}

/// The last positions that a layer sees, its own included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions.
    pub size: usize,
    /// The layers concerned.
    pub layers: Sliding,
}

impl Window {
    /// Whether a layer slides.
    pub fn covers(&self, layer: usize) -> bool {
        match &self.layers {
            Sliding::Never => false,
            Sliding::Always => true,
            Sliding::From(first) => layer >= *first,
            Sliding::ExceptEvery(n) => !(layer + 1).is_multiple_of(*n),
            Sliding::Listed(layers) => layers.get(layer).copied().unwrap_or(false),
        }
    }
}

/// The norm of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// x / √(mean x² + ε) · γ (Zhang & Sennrich 2019).
    Rms,
    /// x / √(mean x² + ε) · (1 + γ) (Gemma).
    RmsPlusOne,
    /// (x − mean) / √(var + ε) · γ + β (Ba et al. 2016).
    Layer,
}

/// Where the norms and the residual stream meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// x + f(norm x), twice. With `sandwich` parts: x + norm f(norm x).
    PreNorm,
    /// norm(x + f(x)), twice (OPT-350m).
    PostNorm,
    /// x + attention(norm x) + mlp(norm' x) (GPT-NeoX).
    Parallel,
}

/// The non-linearity of the feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// x·Φ(x).
    Gelu,
    /// x/2·(1 + tanh(√(2/π)(x + 0.044715x³))).
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// Everything about a decoder that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Sizes and parts.
    pub shape: ModelShape,
    /// Kind of norm.
    pub norm: NormKind,
    /// ε of the norms.
    pub norm_eps: f64,
    /// Order of norms and sums.
    pub residual: Residual,
    /// Non-linearity.
    pub activation: Activation,
    /// Positions.
    pub positions: Positions,
    /// Sliding windows.
    pub window: Option<Window>,
    /// Factor of the attention scores, 1/√d in most families.
    pub attention_scale: f64,
    /// Whether layer i divides its scores by i + 1 too (an option of GPT-2).
    pub scale_by_layer: bool,
    /// Cap c of the attention scores: c·tanh(s/c) (Gemma 2).
    pub attention_softcap: Option<f64>,
    /// Cap of the logits.
    pub logit_softcap: Option<f64>,
    /// Factor of the embedding (√h in Gemma).
    pub embedding_scale: Option<f64>,
    /// Positions that the model was made for.
    pub context: usize,
    /// The `config.json` that it came from, written back when the model is saved.
    pub config: Value,
    /// The family, where it is none of this crate's: [`architecture_of`](crate::architecture_of) sets it.
    pub own_family: Option<&'static dyn Family>,
}

impl Architecture {
    /// The family that names its tensors; `path` is what errors call its configuration.
    ///
    /// # Errors
    /// As [`of`](crate::of).
    pub fn family(&self, path: &Path) -> Result<&'static dyn Family, FamilyError> {
        self.own_family.map_or_else(|| crate::of(&self.config, path), Ok)
    }

    /// The token that the `config.json` names as padding: a sequence classifier of transformers reads its
    /// score before those that end a text.
    pub fn padding(&self) -> Option<u32> {
        self.config.get("pad_token_id")?.as_u64()?.try_into().ok()
    }
}
