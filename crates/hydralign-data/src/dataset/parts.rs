//! What a turn may hold: a text, a list of texts, or nothing beside other fields.

use super::columns::{MEDIA, says};
use crate::records::kind;
use crate::{Message, RecordError};
use serde_json::{Value, json};

/// Names that a part of text goes by.
const TEXT: [&str; 3] = ["text", "input_text", "output_text"];

/// Gives a turn a content of the standard shape.
///
/// # Errors
/// [`RecordError::Turns`] for what is no text, with the turn (from 1) and the kind.
pub(super) fn settle(
    field: &'static str,
    number: usize,
    message: &mut Message,
) -> Result<(), RecordError> {
    let fault = |what: String| {
        let reason = format!("turn {number}: {what}; the model reads texts and nothing else");
        RecordError::Turns { field, reason }
    };
    if let Some(name) = MEDIA.iter().find(|name| message.extra.get(**name).is_some_and(says)) {
        return Err(fault(format!("`{name}` is no text")));
    }
    match &mut message.content {
        Value::String(_) | Value::Null => {}
        Value::Array(parts) if parts.is_empty() => message.content = "".into(),
        Value::Array(parts) => {
            for part in parts {
                *part = text(part).map_err(|what| fault(format!("its content has {what}")))?;
            }
        }
        other => return Err(fault(format!("its content is {}", kind(other)))),
    }
    Ok(())
}

/// A part of text in the standard shape, or what else the part is.
fn text(part: &Value) -> Result<Value, String> {
    let Value::Object(fields) = part else { return Err(format!("a part that is {}", kind(part))) };
    let named = fields.get("type").and_then(Value::as_str).unwrap_or("text");
    if !TEXT.contains(&named) {
        return Err(format!("a part of type `{named}`"));
    }
    if let Some(name) = MEDIA.iter().find(|name| fields.get(**name).is_some_and(says)) {
        return Err(format!("a part with `{name}`"));
    }
    match fields.get("text") {
        Some(Value::String(text)) => Ok(json!({"type": "text", "text": text})),
        _ => Err("a part without a text".into()),
    }
}
