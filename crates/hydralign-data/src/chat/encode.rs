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
        let template = self.chosen(options);
        let (text, ranges) = template.said(messages, 0, options, template.marks_generation)?;
        let encoding = tokenizer
            .inner()
            .encode(text.as_str(), false)
            .map_err(|e| ChatError::Encode { message: e.to_string() })?;
        let ids = encoding.get_ids();
        tokenizer
            .check_rows(ids.iter().copied())
            .map_err(|e| ChatError::Encode { message: e.to_string() })?;
        let touches = |&(from, to): &(usize, usize)| {
            ranges.iter().any(|&(start, end)| from < end && to > start)
        };
        let assistant = encoding.get_offsets().iter().map(touches).collect();
        Ok(ChatTokens { tokens: ids.to_vec(), assistant })
    }

    /// The text, and the ranges of it that the assistant said, in bytes: by the template's marks, or from
    /// the first turn to be looked at by what turns add.
    fn said(
        &self,
        messages: &[Message],
        first: usize,
        options: &RenderOptions,
        marked: bool,
    ) -> Result<(String, Vec<(usize, usize)>), ChatError> {
        if marked {
            return self.marked(messages, options);
        }
        let text = self.render(messages, options)?;
        let ranges = self.by_prefix(messages, first, options, &text)?;
        Ok((text, ranges))
    }

    /// The text, and of the assistant's turns behind so many turns of a prompt what is learnt, in
    /// bytes. One turn is learnt as it is generated, to the marker that ends it; several as
    /// [`ChatTemplate::encode`] marks them.
    pub(crate) fn answers(
        &self,
        messages: &[Message],
        before: usize,
        options: &RenderOptions,
    ) -> Result<(String, Vec<(usize, usize)>), ChatError> {
        let template = self.chosen(options);
        let turns = messages[before..].iter().filter(|m| m.role == "assistant").count();
        template.said(messages, before, options, template.marks_generation && turns > 1)
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
        let (text, ranges) = marks::take(&text, marks);
        let said: Vec<&Message> = messages.iter().filter(|m| m.role == "assistant").collect();
        if said.iter().all(|m| m.learnt()) {
            return Ok((text, ranges));
        }
        if said.len() != ranges.len() {
            let (template, blocks) = (self.name.clone(), ranges.len());
            return Err(ChatError::Unlearnt { template, turns: said.len(), blocks });
        }
        let learnt = ranges.into_iter().zip(said).filter(|(_, m)| m.learnt());
        Ok((text, learnt.map(|(range, _)| range).collect()))
    }

    /// The ranges that assistant turns, from the first to be looked at, add to what was rendered
    /// before them.
    fn by_prefix(
        &self,
        messages: &[Message],
        first: usize,
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
        let turns = messages.iter().enumerate().skip(first);
        for (turn, message) in turns.filter(|(_, m)| m.role == "assistant" && m.learnt()) {
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
/// turn without a marker ends with its content. Behind no content, as that of a tool call or of an
/// empty reply, whatever is written last is the marker.
fn end_of_turn(whole: &str, start: usize, message: &Message) -> usize {
    let said = whole[start..].trim_end();
    let said_in_full = message.said().unwrap_or_default();
    let content = said_in_full.trim_end();
    if !content.is_empty() && said.ends_with(content) { whole.len() } else { start + said.len() }
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
