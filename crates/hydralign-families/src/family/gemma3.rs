//! The text models of Gemma 3 (`gemma3_text`): Gemma 2 with norms on queries and keys, rotary
//! bases of their own for layers with and without a window, no caps unless asked for.

use super::gemma2::{self, cap, gemma};
use super::parts::{rope, scaling, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Positions, Rope, RopeScaling, Sliding};

pub(super) struct Gemma3;

const NAMES: Names =
    Names { query_norm: "self_attn.q_norm", key_norm: "self_attn.k_norm", ..gemma2::NAMES };

/// Bases where a configuration names none.
const FULL_BASE: f64 = 1_000_000.0;
const SLIDING_BASE: f64 = 10_000.0;

impl Family for Gemma3 {
    fn model_type(&self) -> &'static str {
        "gemma3_text"
    }

    fn architecture(&self, fields: &Fields<'_>) -> Result<Architecture, FamilyError> {
        if fields.flag_or("use_bidirectional_attention", false)? {
            return Err(fields.error("use_bidirectional_attention", "is not a decoder"));
        }
        let mut architecture = gemma(fields)?;
        let shape = &mut architecture.shape;
        shape.parts.qk_norm = true;
        let pattern = fields.size_or("sliding_window_pattern", 6)?;
        let layers = shape.layers;
        let dims = shape.head_dim;
        architecture.window = window(fields, Some(4096), layers, Sliding::ExceptEvery(pattern))?;
        architecture.attention_softcap = cap(fields, "attn_logit_softcapping", None)?;
        architecture.logit_softcap = cap(fields, "final_logit_softcapping", None)?;
        let (full, sliding) = ropes(fields)?;
        architecture.positions = Positions::Rotary { dims, full, sliding };
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }
}

/// Rotary positions of layers without and with a window: an object for each (transformers 5),
/// or `rope_theta` with `rope_scaling` and `rope_local_base_freq` (transformers 4).
fn ropes(fields: &Fields<'_>) -> Result<(Rope, Rope), FamilyError> {
    let sliding_base = fields.number_or("rope_local_base_freq", SLIDING_BASE)?;
    let plain = Rope { base: sliding_base, scaling: RopeScaling::None };
    let Some(nested) = fields.object("rope_parameters") else {
        return Ok((rope(fields, FULL_BASE)?, plain));
    };
    let of = |kind: &str, base: f64| -> Result<Rope, FamilyError> {
        match nested.object(kind) {
            Some(f) => Ok(Rope { base: f.number_or("rope_theta", base)?, scaling: scaling(&f)? }),
            None => Ok(Rope { base, scaling: RopeScaling::None }),
        }
    };
    let full_base = fields.number_or("rope_theta", FULL_BASE)?;
    Ok((of("full_attention", full_base)?, of("sliding_attention", sliding_base)?))
}
