use crate::records::kind;
use crate::{Message, RecordError};
use serde_json::Value;

/// A prompt, a completion or a text: plain, or turns of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text as the model shall read it.
    Plain(String),
    /// Turns, which a chat template makes into text.
    Chat(Vec<Message>),
}

impl Content {
    /// Reads a text, or a list of turns with `role` and `content` (or `from` and `value`).
    pub(super) fn from_value(field: &'static str, value: Value) -> Result<Self, RecordError> {
        match value {
            Value::String(text) => Ok(Self::Plain(text)),
            Value::Array(turns) => turns
                .into_iter()
                .map(|turn| message(field, turn))
                .collect::<Result<_, _>>()
                .map(Self::Chat),
            other => {
                let expected = "a string or a list of messages";
                Err(RecordError::WrongType { field, expected, found: kind(&other) })
            }
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text.is_empty(),
            Self::Chat(turns) => turns.is_empty(),
        }
    }
}

/// Names of speakers in the `from`/`value` spelling, with their roles.
const SPEAKERS: [(&str, &str); 4] =
    [("human", "user"), ("gpt", "assistant"), ("bot", "assistant"), ("function_call", "tool")];

fn message(field: &'static str, value: Value) -> Result<Message, RecordError> {
    let wrong = |found| RecordError::WrongType { field, expected: "messages with a role", found };
    let Value::Object(mut turn) = value else { return Err(wrong(kind(&value))) };
    for (old, new) in [("from", "role"), ("value", "content")] {
        if !turn.contains_key(new)
            && let Some(value) = turn.shift_remove(old)
        {
            turn.insert(new.into(), value);
        }
    }
    let mut message: Message =
        serde_json::from_value(Value::Object(turn)).map_err(|_| wrong("something else"))?;
    if let Some((_, role)) = SPEAKERS.iter().find(|(speaker, _)| *speaker == message.role) {
        message.role = (*role).to_owned();
    }
    // Parquet has every key in every row.
    message.extra.retain(|_, value| !value.is_null());
    Ok(message)
}
