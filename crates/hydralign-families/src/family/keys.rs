//! Keys of any family that change what a model computes, and that only one value is supported of.

use super::Fields;
use crate::FamilyError;
use serde_json::Value;

/// The key, whether it must be true (or else false, null or empty), and what it would mean.
const REFUSED: [(&str, bool, &str); 5] = [
    ("quantization_config", false, "quantised weights are not read"),
    ("compression_config", false, "compressed weights are not read"),
    ("is_encoder_decoder", false, "this is not a decoder"),
    ("is_causal", true, "this is not a decoder: its tokens see those behind them"),
    ("per_layer_config", false, "layers with sizes of their own are not supported"),
];

/// Fails on a configuration that describes another kind of model than its family's decoder.
///
/// Keys that no configuration class of transformers knows are attributes there that nothing reads,
/// and are passed over here too.
pub(super) fn check(fields: &Fields<'_>) -> Result<(), FamilyError> {
    for (key, expected, meaning) in REFUSED {
        let Some(value) = fields.value.get(key) else { continue };
        let nothing = match value {
            // What must be true is off where it is null.
            Value::Null => !expected,
            Value::Object(map) => map.is_empty(),
            other => *other == Value::Bool(expected),
        };
        if !nothing {
            return Err(fields.error(key, meaning));
        }
    }
    // transformers refuses null, and so does what reads the folder after this.
    fields.not_null("tie_word_embeddings")
}
