//! GPT-NeoX and Pythia (`gpt_neox`): parallel or sequential residual, partly rotary heads,
//! queries, keys and values fused head by head.

use super::parts::{activation, head_dim, plain, rope, rope_object};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::Order;
use crate::architecture::{Architecture, Positions, Residual};
use hydralign_placement::{ModelShape, Parts, Target};

pub(super) struct GptNeoX;

const NAMES: Names = Names {
    prefix: "gpt_neox.",
    embedding: "embed_in",
    final_norm: "final_layer_norm",
    projections: [
        "",
        "",
        "",
        "attention.dense",
        "",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
        "attention.query_key_value",
    ],
    lm_head: "embed_out",
    ..Names::LLAMA
};

impl Family for GptNeoX {
    fn model_type(&self) -> &'static str {
        "gpt_neox"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let head_dim = head_dim(fields, hidden, ("num_attention_heads", heads))?;
        if fields.size_or("head_dim", head_dim)? != head_dim {
            let reason = format!("must be the hidden size through the heads, {head_dim}");
            return Err(fields.error("head_dim", reason));
        }
        let bias = fields.flag_or("attention_bias", true)?;
        let parallel = fields.flag_or("use_parallel_residual", true)?;
        let rope = rope(fields, "rotary_emb_base")?;
        let dims = (head_dim as f64 * rotary_share(fields)?) as usize;
        let shape = ModelShape {
            vocab: fields.size("vocab_size")?,
            hidden,
            intermediate: fields.size("intermediate_size")?,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads: heads,
            head_dim,
            tied: fields.flag_or("tie_word_embeddings", false)?,
            parts: Parts {
                fused_qkv: true,
                gated: false,
                qkv_bias: bias,
                output_bias: bias,
                mlp_bias: true,
                norm_bias: true,
                ..Parts::default()
            },
        };
        Ok(Architecture {
            norm_eps: fields.number_or("layer_norm_eps", 1e-5)?,
            residual: if parallel { Residual::Parallel } else { Residual::PreNorm },
            activation: activation(fields, "hidden_act", "gelu")?,
            positions: Positions::Rotary { dims, full: rope, sliding: rope },
            ..plain(fields, shape, fields.size("max_position_embeddings")?)
        })
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn order(&self, shape: &ModelShape, target: Target) -> Order {
        match target {
            Target::QueryKeyValue => Order::ByHead { heads: shape.heads, dim: shape.head_dim },
            _ => Order::Same,
        }
    }
}

/// The share of each head that is rotated: `partial_rotary_factor` (transformers 5) or
/// `rotary_pct`.
fn rotary_share(fields: &Fields<'_>) -> Result<f64, FamilyError> {
    let nested = rope_object(fields)?;
    let nested = nested.filter(|f| f.get("partial_rotary_factor").is_some());
    let share = match nested {
        Some(nested) => nested.positive("partial_rotary_factor")?,
        None => fields.positive_or("rotary_pct", 0.25)?,
    };
    match share {
        share if share <= 1.0 => Ok(share),
        share => Err(fields.error("rotary_pct", format!("must be at most 1, got {share}"))),
    }
}
