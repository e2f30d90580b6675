use crate::Target;
use serde::{Deserialize, Serialize};

/// Which parts a decoder has beside its matrices; the default is Llama's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    /// Queries, keys and values are one projection (GPT-2, GPT-NeoX).
    pub fused_qkv: bool,
    /// The feed-forward block is act(x·gate) ⊙ (x·up), not act(x·up).
    pub gated: bool,
    /// Queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// The attention output has a bias.
    pub output_bias: bool,
    /// The projections of the feed-forward block have a bias.
    pub mlp_bias: bool,
    /// Norms have a bias: layer norm instead of root-mean-square norm.
    pub norm_bias: bool,
    /// The outputs of both halves of a block are normed too (Gemma 2 and 3).
    pub sandwich: bool,
    /// Queries and keys are normed per head (Qwen3, Gemma 3).
    pub qk_norm: bool,
    /// There is a norm after the last block.
    pub final_norm: bool,
    /// Rows of a table of learned positions, if there is one.
    pub positions: Option<usize>,
    /// Width of the embedding where it is not the hidden size; a projection leads in, another
    /// out (OPT-350m).
    pub embedding: Option<usize>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            fused_qkv: false,
            gated: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            norm_bias: false,
            sandwich: false,
            qk_norm: false,
            final_norm: true,
            positions: None,
            embedding: None,
        }
    }
}

impl Parts {
    /// Whether a projection has a bias.
    pub fn has_bias(&self, target: Target) -> bool {
        match target {
            Target::Query | Target::Key | Target::Value | Target::QueryKeyValue => self.qkv_bias,
            Target::Output => self.output_bias,
            Target::Gate | Target::Up | Target::Down => self.mlp_bias,
        }
    }
}
