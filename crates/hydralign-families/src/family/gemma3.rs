//! The text models of Gemma 3 (`gemma3_text`): Gemma 2 with norms on queries and keys, rotary
//! bases of their own for layers with and without a window, no caps unless asked for.

use super::gemma2::{self, cap, gemma};
use super::parts::{scaling, window};
use super::{Family, Fields, Names};
use crate::FamilyError;
use crate::architecture::{Architecture, Positions, Rope, Sliding};
use serde_json::{Map, Value};

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
        fields.not_null("use_bidirectional_attention")?;
        let (full, sliding) = ropes(fields)?;
        let mut architecture = gemma(fields, full)?;
        let shape = &mut architecture.shape;
        shape.parts.qk_norm = true;
        let pattern = fields.size_or("sliding_window_pattern", 6)?;
        let layers = shape.layers;
        let dims = shape.head_dim;
        architecture.window = window(fields, Some(4096), layers, Sliding::ExceptEvery(pattern))?;
        architecture.attention_softcap = cap(fields, "attn_logit_softcapping", None)?;
        architecture.logit_softcap = cap(fields, "final_logit_softcapping", None)?;
        architecture.positions = Positions::Rotary { dims, full, sliding };
        Ok(architecture)
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }
}

/// Rotary positions of layers without and with a window: `rope_parameters` with an object for each
/// (transformers 5), overwritten for the first by what `rope_scaling` says (transformers 4); bases
/// from there, or from `rope_theta` and `rope_local_base_freq`.
fn ropes(fields: &Fields<'_>) -> Result<(Rope, Rope), FamilyError> {
    let (full, sliding) = ("full_attention", "sliding_attention");
    let nested = fields.object("rope_parameters")?;
    if let Some(key) = nested.iter().flat_map(Fields::names).find(|k| ![full, sliding].contains(k))
    {
        let reason = format!("`{key}` is not a kind of layer: `{full}` and `{sliding}` are");
        return Err(fields.error("rope_parameters", reason));
    }
    let object = |kind: &str| -> Result<Map<String, Value>, FamilyError> {
        let found = nested.as_ref().map_or(Ok(None), |f| f.object(kind))?;
        Ok(found.and_then(|f| f.value.as_object().cloned()).unwrap_or_default())
    };
    let mut of_full = object(full)?;
    if let Some(scaling) = fields.object("rope_scaling")? {
        of_full.extend(scaling.value.as_object().cloned().unwrap_or_default());
    }
    let of = |object: Map<String, Value>, base: f64| -> Result<Rope, FamilyError> {
        let object = Value::Object(object);
        let described = Fields::new(&object, fields.path);
        let base = described.number_or("rope_theta", base)?;
        Ok(Rope { base, scaling: scaling(&described, fields)? })
    };
    let full_base = fields.number_or("rope_theta", FULL_BASE)?;
    let sliding_base = fields.number_or("rope_local_base_freq", SLIDING_BASE)?;
    Ok((of(of_full, full_base)?, of(object(sliding)?, sliding_base)?))
}
