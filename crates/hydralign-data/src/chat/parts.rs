//! Contents that are lists of texts.

use super::{ChatTemplate, Message, RenderOptions};
use serde_json::{Value, json};
use std::borrow::Cow;

impl Message {
    /// The text: of a list, that of its parts one behind the other.
    pub(crate) fn said(&self) -> Option<Cow<'_, str>> {
        match &self.content {
            Value::String(text) => Some(text.into()),
            Value::Array(parts) => {
                let text = |part| Value::get(part, "text").and_then(Value::as_str);
                parts.iter().map(text).collect::<Option<String>>().map(Cow::Owned)
            }
            _ => None,
        }
    }
}

impl ChatTemplate {
    /// Whether the template writes the texts of a turn whose content is a list. One that knows no lists
    /// writes the list itself as Python does, with quotes and escapes.
    pub(crate) fn writes_parts(
        &self,
        messages: &[Message],
        turn: usize,
        options: &RenderOptions,
    ) -> bool {
        let Some(parts) = messages[turn].content.as_array() else { return false };
        // Python and JSON would escape one of these quotes, whichever they put around the text.
        let marks: Vec<String> = (0..parts.len()).map(|i| format!("a'\"{i}z")).collect();
        let mut marked = messages.to_vec();
        marked[turn].content =
            marks.iter().map(|mark| json!({"type": "text", "text": mark})).collect();
        let text = self.render(&marked, options);
        text.is_ok_and(|text| marks.iter().all(|mark| text.contains(mark.as_str())))
    }
}
