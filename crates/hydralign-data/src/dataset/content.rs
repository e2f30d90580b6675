use super::columns::says;
use super::parts;
use crate::chat::{LEARNT, known_names, role_of};
use crate::records::kind;
use crate::{ChatTemplate, Message, RecordError, RenderOptions};
use serde_json::Value;
use std::borrow::Cow;

/// A prompt, a completion or a text: plain, or turns of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text as the model shall read it.
    Plain(String),
    /// Turns, which a chat template makes into text.
    Chat(Vec<Message>),
}

impl Content {
    /// Reads a text, a turn, or a list of turns with `role` and `content` (or `from` and `value`).
    pub(super) fn from_value(field: &'static str, value: Value) -> Result<Self, RecordError> {
        match value {
            Value::String(text) => Ok(Self::Plain(text)),
            Value::Array(turns) => turns
                .into_iter()
                .enumerate()
                .map(|(at, turn)| message(field, at + 1, turn))
                .collect::<Result<_, _>>()
                .map(Self::Chat),
            Value::Object(turn) if turn.contains_key("role") || turn.contains_key("from") => {
                Ok(Self::Chat(vec![message(field, 1, Value::Object(turn))?]))
            }
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

    /// Joins the texts of a content that is a list where the template does not write them; `before` are
    /// the turns that it stands behind.
    pub(super) fn settle_parts(
        &mut self,
        before: &[Message],
        template: &ChatTemplate,
        options: &RenderOptions,
    ) {
        let Self::Chat(turns) = self else { return };
        if !turns.iter().any(|turn| turn.content.is_array()) {
            return;
        }
        // Another list that the template cannot read must not stand in the way of this one.
        let mut whole = [before, turns].concat();
        whole.iter_mut().for_each(join_parts);
        for (at, turn) in turns.iter_mut().enumerate().filter(|(_, turn)| turn.content.is_array()) {
            let place = before.len() + at;
            let joined = std::mem::replace(&mut whole[place], turn.clone());
            if !template.writes_parts(&whole, place, options) {
                turn.clone_from(&joined);
            }
            whole[place] = joined;
        }
    }

    /// Gives every speaker a role that the template knows.
    ///
    /// # Errors
    /// [`RecordError::UnknownRole`].
    pub(super) fn settle_roles(
        &mut self,
        field: &'static str,
        template: Option<&ChatTemplate>,
    ) -> Result<(), RecordError> {
        let Self::Chat(turns) = self else { return Ok(()) };
        for turn in turns {
            if template.is_some_and(|t| t.names_role(&turn.role)) {
                continue;
            }
            turn.role = role_of(&turn.role).ok_or_else(|| unknown(field, &turn.role))?.to_owned();
        }
        Ok(())
    }
}

/// Makes a content that is a list of texts one text.
fn join_parts(turn: &mut Message) {
    if let (true, Some(text)) = (turn.content.is_array(), turn.said().map(Cow::into_owned)) {
        turn.content = text.into();
    }
}

fn unknown(field: &'static str, role: &str) -> RecordError {
    RecordError::UnknownRole { field, role: role.to_owned(), known: known_names() }
}

fn message(field: &'static str, number: usize, value: Value) -> Result<Message, RecordError> {
    let wrong = |found| RecordError::WrongType { field, expected: "messages with a role", found };
    let Value::Object(mut turn) = value else { return Err(wrong(kind(&value))) };
    let speakers = !turn.contains_key("role");
    for (old, new) in [("from", "role"), ("value", "content")] {
        if !turn.contains_key(new)
            && let Some(value) = turn.shift_remove(old)
        {
            turn.insert(new.into(), value);
        }
        let both = turn.get(old).filter(|value| says(value)).zip(turn.get(new));
        if both.is_some_and(|(old, new)| old != new) {
            let (column, reason) = (
                field.to_owned(),
                format!("turn {number} has both `{new}` and `{old}`, and they differ"),
            );
            return Err(RecordError::Column { column, reason });
        }
    }
    let mut message: Message =
        serde_json::from_value(Value::Object(turn)).map_err(|_| wrong("something else"))?;
    // Other names for user and assistant are no roles of a template; `ipython`, `developer` may be.
    match role_of(&message.role) {
        Some(role)
            if speakers
                || matches!(role, "user" | "assistant")
                || message.role.trim().eq_ignore_ascii_case(role) =>
        {
            role.clone_into(&mut message.role);
        }
        None if speakers => return Err(unknown(field, &message.role)),
        _ => {}
    }
    // Parquet has every key in every row.
    message.extra.retain(|_, value| !value.is_null());
    parts::settle(field, number, &mut message)?;
    let flag = |v: &Value| v.is_boolean() || v.as_f64().is_some_and(|x| x == 0.0 || x == 1.0);
    if let Some(key) = LEARNT.iter().find(|key| message.extra.get(**key).is_some_and(|v| !flag(v)))
    {
        let reason = format!("`{key}` of a turn is neither true or 1 nor false or 0");
        return Err(RecordError::Turns { field, reason });
    }
    Ok(message)
}
