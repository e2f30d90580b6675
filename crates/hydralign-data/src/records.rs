use crate::RecordError;
use serde::Serialize;
use serde_json::{Map, Value};

/// A typed line of a JSON Lines file.
///
/// Keys that a record does not know are ignored: public data sets carry ids, sources and
/// scores beside the text.
pub trait Record: Sized {
    /// Reads the record out of a JSON object.
    ///
    /// # Errors
    /// [`RecordError::MissingField`] and [`RecordError::WrongType`], which name the field.
    fn from_object(object: Map<String, Value>) -> Result<Self, RecordError>;
}

/// A prompt to respond to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromptRecord {
    /// Text of the prompt, as the model shall read it.
    pub prompt: String,
}

/// Two completions of one prompt, of which a judge chose one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreferenceRecord {
    /// Text of the prompt.
    pub prompt: String,
    /// The completion that was preferred.
    pub chosen: String,
    /// The completion that was not.
    pub rejected: String,
}

/// A completion to imitate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DemonstrationRecord {
    /// Text of the prompt.
    pub prompt: String,
    /// Text of the completion.
    pub completion: String,
}

impl Record for PromptRecord {
    fn from_object(mut object: Map<String, Value>) -> Result<Self, RecordError> {
        Ok(Self { prompt: text(&mut object, "prompt")? })
    }
}

impl Record for PreferenceRecord {
    fn from_object(mut object: Map<String, Value>) -> Result<Self, RecordError> {
        Ok(Self {
            prompt: text(&mut object, "prompt")?,
            chosen: text(&mut object, "chosen")?,
            rejected: text(&mut object, "rejected")?,
        })
    }
}

impl Record for DemonstrationRecord {
    fn from_object(mut object: Map<String, Value>) -> Result<Self, RecordError> {
        Ok(Self {
            prompt: text(&mut object, "prompt")?,
            completion: text(&mut object, "completion")?,
        })
    }
}

impl Record for Map<String, Value> {
    fn from_object(object: Map<String, Value>) -> Result<Self, RecordError> {
        Ok(object)
    }
}

fn text(object: &mut Map<String, Value>, field: &'static str) -> Result<String, RecordError> {
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            Err(RecordError::WrongType { field, expected: "a string", found: kind(&other) })
        }
        None => Err(RecordError::MissingField { field }),
    }
}

/// The JSON name of a value's type, with its article.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
