//! OPT (`opt`): learned positions from row 2 on, norms before or after each half, an embedding
//! that may be narrower than the blocks (OPT-350m).

use super::parts::{activation, head_dim, plain};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Positions, Residual};
use hydralign_placement::{ModelShape, Parts};

pub(super) struct Opt;

/// Rows of the position table before the first position.
const OFFSET: usize = 2;

const NAMES: Names = Names {
    prefix: "model.",
    embedding: "decoder.embed_tokens",
    positions: "decoder.embed_positions",
    project_in: "decoder.project_in",
    project_out: "decoder.project_out",
    final_norm: "decoder.final_layer_norm",
    blocks: "decoder.layers",
    attention_norm: "self_attn_layer_norm",
    mlp_norm: "final_layer_norm",
    projections: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "",
        "fc1",
        "fc2",
        "",
    ],
    ..Names::LLAMA
};

impl Family for Opt {
    fn model_type(&self) -> &'static str {
        "opt"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        if !fields.flag_or("layer_norm_elementwise_affine", true)? {
            let reason = "norms without weights are not supported";
            return Err(fields.error("layer_norm_elementwise_affine", reason));
        }
        let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let head_dim = head_dim(fields, hidden, ("num_attention_heads", heads))?;
        let context = fields.size("max_position_embeddings")?;
        let width = fields.size_or("word_embed_proj_dim", hidden)?;
        let bias = fields.flag_or("enable_bias", true)?;
        let norm_before = fields.flag_or("do_layer_norm_before", true)?;
        let norm_removed = fields.flag_or("_remove_final_layer_norm", false)?;
        let shape = ModelShape {
            vocab: fields.size("vocab_size")?,
            hidden,
            intermediate: fields.size("ffn_dim")?,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads: heads,
            head_dim,
            tied: fields.flag_or("tie_word_embeddings", true)?,
            parts: Parts {
                gated: false,
                qkv_bias: bias,
                output_bias: bias,
                mlp_bias: bias,
                norm_bias: true,
                final_norm: norm_before && !norm_removed,
                positions: Some(context + OFFSET),
                embedding: (width != hidden).then_some(width),
                ..Parts::default()
            },
        };
        Ok(Architecture {
            residual: if norm_before { Residual::PreNorm } else { Residual::PostNorm },
            activation: activation(fields, "activation_function", "relu")?,
            positions: Positions::Learned { offset: OFFSET },
            ..plain(fields, shape, context)
        })
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }
}
