//! GPT-2 (`gpt2`): learned positions, layer norms, fused queries, keys and values, projections
//! stored `[in, out]`.

use super::parts::{activation, head_dim, plain};
use super::{Family, Fields, Names, Storage};
use crate::FamilyError;
use crate::architecture::Architecture;
use hydralign_placement::{ModelShape, Parts};

pub(super) struct Gpt2;

const NAMES: Names = Names {
    prefix: "transformer.",
    embedding: "wte",
    positions: "wpe",
    final_norm: "ln_f",
    blocks: "h",
    attention_norm: "ln_1",
    mlp_norm: "ln_2",
    projections: ["", "", "", "attn.c_proj", "", "mlp.c_fc", "mlp.c_proj", "attn.c_attn"],
    ..Names::LLAMA
};

impl Family for Gpt2 {
    fn model_type(&self) -> &'static str {
        "gpt2"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        if fields.flag_or("add_cross_attention", false)? {
            return Err(fields.error("add_cross_attention", "is not supported"));
        }
        let heads_name = spelled(fields, "num_attention_heads", "n_head");
        let (hidden, heads) =
            (fields.size(spelled(fields, "hidden_size", "n_embd"))?, fields.size(heads_name)?);
        let context = fields.size(spelled(fields, "max_position_embeddings", "n_positions"))?;
        let head_dim = head_dim(fields, hidden, (heads_name, heads))?;
        let shape = ModelShape {
            vocab: fields.size("vocab_size")?,
            hidden,
            intermediate: fields.size_or("n_inner", 4 * hidden)?,
            layers: fields.size(spelled(fields, "num_hidden_layers", "n_layer"))?,
            heads,
            kv_heads: heads,
            head_dim,
            tied: fields.flag_or("tie_word_embeddings", true)?,
            parts: Parts {
                fused_qkv: true,
                gated: false,
                qkv_bias: true,
                output_bias: true,
                mlp_bias: true,
                norm_bias: true,
                positions: Some(context),
                ..Parts::default()
            },
        };
        let mut architecture = Architecture {
            norm_eps: fields.number_or("layer_norm_epsilon", 1e-5)?,
            activation: activation(fields, "activation_function", "gelu_new")?,
            scale_by_layer: fields.flag_or("scale_attn_by_inverse_layer_idx", false)?,
            ..plain(fields, shape, context)
        };
        if !fields.flag_or("scale_attn_weights", true)? {
            architecture.attention_scale = 1.0;
        }
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn storage(&self) -> Storage {
        Storage::InOut
    }
}

/// The general name of a size where a file uses it, which transformers takes before GPT-2's own.
fn spelled<'a>(fields: &Fields<'_>, general: &'a str, own: &'a str) -> &'a str {
    if fields.value.get(general).is_some() { general } else { own }
}
