//! A prompt with what is learnt behind it, as tokens.

use super::turns::end_with_answer;
use super::{Content, ReadReport, Reader};
use crate::encode::{encode_completion, encode_text};
use crate::{ChatError, ChatTokens, Message, RecordError, RenderOptions};
use hydralign_core::Sequence;
use serde_json::Value;

impl Reader<'_> {
    /// Tokens of a prompt as generation begins from it.
    pub(super) fn prompt(&self, prompt: &Content) -> Result<Vec<u32>, RecordError> {
        match prompt {
            Content::Plain(text) => {
                Ok(self.tokenizer.begin(encode_text(self.tokenizer, "prompt", text)?))
            }
            Content::Chat(turns) => {
                encode_text(self.tokenizer, "prompt", &self.prompt_text(turns)?)
            }
        }
    }

    /// The text of turns with what comes before the assistant's answer; without it if the
    /// assistant has begun to speak.
    fn prompt_text(&self, turns: &[Message]) -> Result<String, RecordError> {
        let ends_in_answer = turns.last().is_some_and(|m| m.role == "assistant");
        let options = RenderOptions {
            add_generation_prompt: !ends_in_answer,
            continue_final_message: ends_in_answer,
            ..self.render.clone()
        };
        self.rendered("prompt", (turns, turns.len()), &options)
    }

    /// The text of turns, all of which are in it; those of the assistant are learnt from one on.
    fn rendered(
        &self,
        field: &'static str,
        (turns, learnt): (&[Message], usize),
        options: &RenderOptions,
    ) -> Result<String, RecordError> {
        let text = self.template(field)?.render(turns, options).map_err(chat_error)?;
        self.nothing_left_out(field, (turns, learnt), options, &text)?;
        Ok(text)
    }

    fn nothing_left_out(
        &self,
        field: &'static str,
        (turns, learnt): (&[Message], usize),
        options: &RenderOptions,
        text: &str,
    ) -> Result<(), RecordError> {
        let template = self.template(field)?;
        if let Some(turn) = template.left_out(turns, options, text) {
            return Err(RecordError::TurnLeftOut {
                turn: turn + 1,
                role: turns[turn].role.clone(),
            });
        }
        match template.unwritten(turns, learnt, options, text) {
            Some((turn, key)) => Err(RecordError::FieldLeftOut { field, turn: turn + 1, key }),
            None => Ok(()),
        }
    }

    /// Tokens of a whole conversation, and which of them the assistant said.
    pub(super) fn conversation(&self, turns: &[Message]) -> Result<ChatTokens, RecordError> {
        let template = self.template("messages")?;
        self.rendered("messages", (turns, 0), &self.render)?;
        template.encode(self.tokenizer, turns, &self.render).map_err(chat_error)
    }

    /// A prompt with its completion. The prompt that is learned from is the one that is generated
    /// from, and the completion has the tokens that follow it. Of several turns the assistant's
    /// are learnt.
    pub(super) fn sequence(
        &self,
        prompt: &Content,
        (field, completion): (&'static str, &Content),
        report: &mut ReadReport,
    ) -> Result<Sequence, RecordError> {
        match (prompt, completion) {
            (Content::Plain(before), Content::Plain(text)) => {
                let response = encode_completion(self.tokenizer, before, (field, text))?;
                Ok(Sequence::new(self.prompt(prompt)?, response))
            }
            (Content::Chat(before), _) => {
                let mut completion = completion.clone();
                report.turns_cut += end_with_answer(&mut completion);
                let sequence = self.answer(before, field, completion)?;
                report.masked += usize::from(sequence.response_mask.is_some());
                Ok(sequence)
            }
            (Content::Plain(_), Content::Chat(_)) => {
                let expected = "a text, as the prompt is";
                Err(RecordError::WrongType { field, expected, found: "a conversation" })
            }
        }
    }

    /// What the turns of an answer add to their prompt, to the marker that ends the last: the line
    /// break that some templates put behind it is not said by the assistant.
    fn answer(
        &self,
        before: &[Message],
        field: &'static str,
        completion: Content,
    ) -> Result<Sequence, RecordError> {
        let prompt = self.prompt_text(before)?;
        let (turns, first) = continued(before, completion);
        let template = self.template(field)?;
        let (whole, ranges) = template.answers(&turns, first, &self.render).map_err(chat_error)?;
        if !whole.starts_with(&prompt) {
            let message = "the template renders the prompt differently when it is answered";
            return Err(RecordError::Chat { message: message.into() });
        }
        self.nothing_left_out(field, (&turns, first), &self.render, &whole)?;
        let ranges: Vec<(usize, usize)> =
            ranges.into_iter().filter(|&(_, end)| end > prompt.len()).collect();
        let Some(&(_, end)) = ranges.last() else { return Err(RecordError::EmptyText { field }) };
        let tokens = self
            .tokenizer
            .placed_after(&prompt, &whole[prompt.len()..end])
            .map_err(|e| RecordError::Encode { field, message: e.to_string() })?;
        let said = |from: usize, to: usize| ranges.iter().any(|&(a, b)| from < b && to > a);
        let mask: Vec<bool> = tokens.iter().map(|(_, at)| said(at.start, at.end)).collect();
        let response = tokens.into_iter().map(|(id, _)| id).collect();
        let sequence = Sequence::new(self.prompt(&Content::Chat(before.to_vec()))?, response);
        match (mask.contains(&true), mask.contains(&false)) {
            (false, _) => Err(RecordError::EmptyText { field }),
            (true, true) => Ok(sequence.with_response_mask(mask)),
            (true, false) => Ok(sequence),
        }
    }
}

/// All turns, and which of them is the first that is answered with. A text goes on with the turn of
/// the assistant that the prompt ends in.
fn continued(before: &[Message], completion: Content) -> (Vec<Message>, usize) {
    let mut turns = before.to_vec();
    match (completion, turns.last_mut()) {
        (Content::Plain(text), Some(last)) if last.role == "assistant" => {
            last.content = Value::String(last.said().unwrap_or_default().into_owned() + &text);
            (turns, before.len() - 1)
        }
        (Content::Plain(text), _) => {
            turns.push(Message::new("assistant", text));
            (turns, before.len())
        }
        (Content::Chat(answer), _) => {
            turns.extend(answer);
            (turns, before.len())
        }
    }
}

fn chat_error(error: ChatError) -> RecordError {
    RecordError::Chat { message: error.to_string() }
}
