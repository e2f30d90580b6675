use super::{ChatError, ChatTemplate, Message, RenderOptions, marks};
use crate::TextTokenizer;
use serde_json::Value;

/// Tokens of a conversation, and which of them the assistant said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTokens {
    /// The tokens of the rendered text, with no special tokens added to those that it spells.
    pub tokens: Vec<u32>,
    /// True where the assistant speaks: what is learned from.
    pub assistant: Vec<bool>,
}

impl ChatTemplate {
    /// Tokens of a conversation with a mask of what the assistant said.
    ///
    /// The mask goes by position in the text, never by token id. It comes from the template's
    /// `{% generation %}` blocks if it has them. Otherwise each assistant turn is what rendering
    /// it adds to the generation prompt before it, up to and including the marker that ends the
    /// turn; the turns must not change when others follow.
    ///
    /// A token is learned if any of its characters is. Departure: where one character takes
    /// several tokens, transformers marks only the first at the end of a block; here all are.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render`], [`ChatError::NotPrefixStable`], [`ChatError::Encode`].
    pub fn encode(
        &self,
        tokenizer: &TextTokenizer,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<ChatTokens, ChatError> {
        let (text, ranges) = match self.marks_generation {
            true => self.marked(messages, options)?,
            false => {
                let text = self.render(messages, options)?;
                let ranges = self.by_prefix(messages, options, &text)?;
                (text, ranges)
            }
        };
        let encoding = tokenizer
            .inner()
            .encode(text.as_str(), false)
            .map_err(|e| ChatError::Encode { message: e.to_string() })?;
        let touches = |&(from, to): &(usize, usize)| {
            ranges.iter().any(|&(start, end)| from < end && to > start)
        };
        let assistant = encoding.get_offsets().iter().map(touches).collect();
        Ok(ChatTokens { tokens: encoding.get_ids().to_vec(), assistant })
    }

    /// The text and the ranges of its generation blocks.
    fn marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<(String, Vec<(usize, usize)>), ChatError> {
        if options.continue_final_message {
            let reason = "what the assistant said cannot be marked at the same time";
            return Err(ChatError::Continue { template: self.name.clone(), reason });
        }
        let visible: Vec<Value> = messages.iter().map(Message::visible).collect();
        // Whatever the template may write comes from one of these.
        let mut texts: Vec<String> = visible.iter().map(raw_text).collect();
        texts.extend(options.tools.iter().chain(&options.documents).map(raw_text));
        texts.push(raw_text(&Value::Object(options.variables.clone())));
        let known = texts.iter().map(String::as_str).chain([self.source()]);
        let marks = marks::unused(known).ok_or_else(|| ChatError::Encode {
            message: "the conversation uses every private character".into(),
        })?;
        let text = self.render_values(&visible, options, Some(marks))?;
        Ok(marks::take(&text, marks))
    }

    /// The ranges that assistant turns add to what was rendered before them.
    fn by_prefix(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        text: &str,
    ) -> Result<Vec<(usize, usize)>, ChatError> {
        let unstable = |turn| ChatError::NotPrefixStable { template: self.name.clone(), turn };
        let part = |upto: usize, prompt: bool| {
            let options = RenderOptions {
                add_generation_prompt: prompt,
                continue_final_message: false,
                ..options.clone()
            };
            self.render(&messages[..upto], &options)
        };
        let mut ranges = Vec::new();
        for (turn, message) in messages.iter().enumerate().filter(|(_, m)| m.role == "assistant") {
            let start = match turn {
                0 => String::new(),
                turn => part(turn, true)?,
            };
            if !text.starts_with(&start) {
                return Err(unstable(turn));
            }
            let last = turn + 1 == messages.len();
            let whole = match last && options.continue_final_message {
                true => text.to_owned(),
                false => part(turn + 1, false)?,
            };
            if !text.starts_with(&whole) || whole.len() < start.len() {
                return Err(unstable(turn));
            }
            ranges.push((start.len(), end_of_turn(&whole, start.len(), message)));
        }
        Ok(ranges)
    }
}

/// Where a turn ends: after the marker that ends it, not after the line break behind that. A
/// turn without a marker ends with its content.
fn end_of_turn(whole: &str, start: usize, message: &Message) -> usize {
    let said = whole[start..].trim_end();
    let content = message.text().unwrap_or_default().trim_end();
    if said.ends_with(content) { whole.len() } else { start + said.len() }
}

/// Every text in a value, without the escapes of JSON.
fn raw_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(raw_text).collect(),
        Value::Object(fields) => fields.iter().map(|(k, v)| k.clone() + &raw_text(v)).collect(),
        _ => String::new(),
    }
}
