use super::truncate::Fitted;
use super::{Content, Example, Format, Row, Rows, Truncation, find_files};
use crate::encode::{encode_completion, encode_text};
use crate::{
    ChatTemplate, ChatTokens, DataError, Message, PreferencePair, RecordError, RenderOptions,
    TextTokenizer,
};
use hydralign_core::Sequence;
use std::collections::BTreeMap;

/// Turns the rows of data sets into tokens for a model.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a TextTokenizer,
    /// Makes turns into text; conversations without it are an error.
    pub template: Option<&'a ChatTemplate>,
    /// How the template is told to render; the prompts are set by the reader.
    pub render: RenderOptions,
    /// Positions that the model has.
    pub context: usize,
    /// The shape of the rows.
    pub format: Format,
    /// Columns that go by another name: `(name in the file, name in the format)`.
    pub rename: BTreeMap<String, String>,
    /// What becomes of examples that are too long.
    pub truncation: Truncation,
}

/// What came of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Rows read.
    pub rows: usize,
    /// Examples that lost tokens.
    pub cut: usize,
    /// Examples that were left out.
    pub dropped: usize,
}

/// A completion that was liked or not, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpairedSequence {
    /// Prompt and completion.
    pub sequence: Sequence,
    /// Whether it was liked.
    pub label: bool,
}

impl<'a> Reader<'a> {
    /// A reader of plain texts that cuts nothing.
    pub fn new(tokenizer: &'a TextTokenizer, context: usize) -> Self {
        Self {
            tokenizer,
            template: None,
            render: RenderOptions::default(),
            context,
            format: Format::Detect,
            rename: BTreeMap::new(),
            truncation: Truncation::Refuse,
        }
    }

    /// The rows of files, given by paths or patterns, as examples.
    ///
    /// # Errors
    /// A pattern that matches nothing; as items: files that cannot be read, rows of no format.
    pub fn examples<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<impl Iterator<Item = Result<(Row, Example), DataError>> + use<'_, 'a, S>, DataError>
    {
        let rows = Rows::new(find_files(files)?);
        Ok(rows.map(|row| {
            let row = row?;
            let example = self.example(&row, Format::Detect).map_err(|e| row.error(e))?;
            Ok((row, example))
        }))
    }

    /// The example of a row. `fallback` is what a row of no format is held to be, so that the
    /// error says what is missing.
    fn example(&self, row: &Row, fallback: Format) -> Result<Example, RecordError> {
        let mut fields = row.fields.clone();
        for (from, to) in &self.rename {
            if let Some(value) = fields.shift_remove(from) {
                fields.insert(to.clone(), value);
            }
        }
        let format = match self.format {
            Format::Detect => match Format::of(&fields) {
                Ok(found) if fallback == Format::Detect || serves(found, fallback) => found,
                Ok(_) => fallback,
                Err(e) => {
                    return if fallback == Format::Detect {
                        Err(e)
                    } else {
                        fallback.example(fields)
                    };
                }
            },
            format => format,
        };
        format.example(fields)
    }

    /// Reads every row of files and makes something of it.
    fn read<S: AsRef<str>, T>(
        &self,
        files: &[S],
        fallback: Format,
        mut take: impl FnMut(Example, &mut ReadReport) -> Result<Vec<T>, RecordError>,
    ) -> Result<(Vec<T>, ReadReport), DataError> {
        let (mut items, mut report) = (Vec::new(), ReadReport::default());
        for row in Rows::new(find_files(files)?) {
            let row = row?;
            report.rows += 1;
            let example = self.example(&row, fallback);
            items.extend(example.and_then(|e| take(e, &mut report)).map_err(|e| row.error(e))?);
        }
        Ok((items, report))
    }

    /// Prompts: of prompt files, and of all others that have them.
    ///
    /// # Errors
    /// Files that cannot be read; rows without a prompt, or whose prompt leaves no room for a
    /// response unless [`Truncation`] says what to do.
    pub fn prompts<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<(Vec<Vec<u32>>, ReadReport), DataError> {
        self.read(files, Format::Prompt, |example, report| {
            let mut tokens = self.prompt(&example.into_prompt()?)?;
            let (bos, excess) =
                (self.bos(&tokens), (tokens.len() + 1).saturating_sub(self.context));
            if excess == 0 {
                return Ok(vec![tokens]);
            }
            let cuts = matches!(self.truncation, Truncation::PromptStart | Truncation::PromptEnd);
            if self.truncation == Truncation::Drop {
                report.dropped += 1;
                return Ok(Vec::new());
            }
            if !cuts || tokens.len() - bos <= excess {
                let (tokens, context) = (tokens.len(), self.context);
                return Err(RecordError::PromptTooLong { tokens, context });
            }
            match self.truncation {
                Truncation::PromptStart => drop(tokens.drain(bos..bos + excess)),
                _ => tokens.truncate(tokens.len() - excess),
            }
            report.cut += 1;
            Ok(vec![tokens])
        })
    }

    /// Completions to imitate.
    ///
    /// # Errors
    /// Files that cannot be read; rows that are no completions, are empty or too long.
    pub fn demonstrations<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<(Vec<Sequence>, ReadReport), DataError> {
        self.read(files, Format::Completion, |example, report| match example {
            Example::Completion { prompt, completion } => {
                let mut sequence = self.sequence(&prompt, ("completion", &completion))?;
                self.keep(&mut [&mut sequence], "completion", report)
                    .map(|kept| if kept { vec![sequence] } else { Vec::new() })
            }
            other => Err(other.not("a completion")),
        })
    }

    /// Preferences.
    ///
    /// # Errors
    /// Files that cannot be read; rows that are no preferences, are empty or too long, or whose
    /// completions are equal.
    pub fn preferences<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<(Vec<PreferencePair>, ReadReport), DataError> {
        self.read(files, Format::Preference, |example, report| match example {
            Example::Preference { prompt, chosen, rejected } => {
                Ok(self.pair_with(&prompt, &chosen, &rejected, report)?.into_iter().collect())
            }
            other => Err(other.not("a preference")),
        })
    }

    /// Two completions of a prompt as tokens; none if the policy leaves them out.
    ///
    /// # Errors
    /// A part that is empty or too long, completions that are equal.
    pub fn pair(
        &self,
        prompt: &Content,
        chosen: &Content,
        rejected: &Content,
    ) -> Result<Option<PreferencePair>, RecordError> {
        self.pair_with(prompt, chosen, rejected, &mut ReadReport::default())
    }

    fn pair_with(
        &self,
        prompt: &Content,
        chosen: &Content,
        rejected: &Content,
        report: &mut ReadReport,
    ) -> Result<Option<PreferencePair>, RecordError> {
        let mut chosen = self.sequence(prompt, ("chosen", chosen))?;
        let mut rejected = self.sequence(prompt, ("rejected", rejected))?;
        // Before a cut, so that what was equal is not told to be too long.
        if chosen == rejected {
            return Err(RecordError::Identical);
        }
        let field = if chosen.len() >= rejected.len() { "chosen" } else { "rejected" };
        if !self.keep(&mut [&mut chosen, &mut rejected], field, report)? {
            return Ok(None);
        }
        // Cut at the same place, two long completions may become equal.
        match chosen == rejected {
            true => Err(RecordError::Identical),
            false => Ok(Some(PreferencePair { chosen, rejected })),
        }
    }

    /// Labelled completions; a preference counts as two.
    ///
    /// # Errors
    /// Files that cannot be read; rows that are neither, are empty or too long.
    pub fn unpaired<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<(Vec<UnpairedSequence>, ReadReport), DataError> {
        self.read(files, Format::Unpaired, |example, report| {
            let mut items = Vec::new();
            for (prompt, completion, label) in example.into_unpaired()? {
                let mut sequence = self.sequence(&prompt, ("completion", &completion))?;
                if self.keep(&mut [&mut sequence], "completion", report)? {
                    items.push(UnpairedSequence { sequence, label });
                }
            }
            Ok(items)
        })
    }

    /// Whole texts and conversations, with a mask of what is learned from: everything of a text
    /// but its first token's prediction, what the assistant said of a conversation.
    ///
    /// # Errors
    /// Files that cannot be read; rows that are neither, are empty or too long. The prompt and
    /// completion policies of [`Truncation`] cut the start and the end.
    pub fn texts<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<(Vec<ChatTokens>, ReadReport), DataError> {
        self.read(files, Format::Text, |example, report| {
            let mut text = match example {
                Example::Text(Content::Plain(text)) => {
                    let tokens = encode_completion(self.tokenizer, "text", &text)?;
                    let tokens = self.tokenizer.begin(tokens);
                    ChatTokens { assistant: vec![true; tokens.len()], tokens }
                }
                Example::Text(Content::Chat(turns)) => self
                    .template("messages")?
                    .encode(self.tokenizer, &turns, &self.render)
                    .map_err(|e| RecordError::Chat { message: e.to_string() })?,
                other => return Err(other.not("a text")),
            };
            let (tokens, context) = (text.tokens.len(), self.context);
            let Some(excess) = tokens.checked_sub(context).filter(|&n| n > 0) else {
                return Ok(vec![text]);
            };
            match self.truncation {
                Truncation::Refuse => {
                    return Err(RecordError::TooLong { field: "text", tokens, context });
                }
                Truncation::Drop => {
                    report.dropped += 1;
                    return Ok(Vec::new());
                }
                Truncation::PromptStart => {
                    let bos = self.bos(&text.tokens);
                    text.tokens.drain(bos..bos + excess);
                    text.assistant.drain(bos..bos + excess);
                }
                Truncation::PromptEnd | Truncation::CompletionEnd => {
                    text.tokens.truncate(context);
                    text.assistant.truncate(context);
                }
            }
            report.cut += 1;
            Ok(vec![text])
        })
    }

    fn template(&self, field: &'static str) -> Result<&'a ChatTemplate, RecordError> {
        self.template.ok_or(RecordError::NoTemplate { field })
    }

    /// Tokens of the beginning of a prompt that no cut takes away.
    fn bos(&self, tokens: &[u32]) -> usize {
        usize::from(tokens.first().copied() == self.tokenizer.special().bos && !tokens.is_empty())
    }

    /// Applies the policy; false if the example is left out.
    fn keep(
        &self,
        sequences: &mut [&mut Sequence],
        field: &'static str,
        report: &mut ReadReport,
    ) -> Result<bool, RecordError> {
        let prompt = sequences.first().map_or(&[][..], |s| &s.prompt);
        if self.truncation == Truncation::Refuse && prompt.len() >= self.context {
            let (tokens, context) = (prompt.len(), self.context);
            return Err(RecordError::PromptTooLong { tokens, context });
        }
        let bos = self.bos(prompt);
        let fitted = self.truncation.fit(sequences, self.context, bos, field)?;
        report.cut += usize::from(fitted == Fitted::Cut);
        report.dropped += usize::from(fitted == Fitted::Dropped);
        Ok(fitted != Fitted::Dropped)
    }

    /// Tokens of a prompt as generation begins from it.
    fn prompt(&self, prompt: &Content) -> Result<Vec<u32>, RecordError> {
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
        let text = self.template("prompt")?.render(turns, &options);
        text.map_err(|e| RecordError::Chat { message: e.to_string() })
    }

    /// A prompt with its completion, tokenised apart: the prompt that is learned from is the one
    /// that is generated from.
    fn sequence(
        &self,
        prompt: &Content,
        (field, completion): (&'static str, &Content),
    ) -> Result<Sequence, RecordError> {
        let response = match (prompt, completion) {
            (Content::Plain(_), Content::Plain(text)) => {
                encode_completion(self.tokenizer, field, text)?
            }
            (Content::Chat(before), Content::Chat(turns)) => {
                encode_text(self.tokenizer, field, &self.answer_text(field, before, turns)?)?
            }
            (Content::Chat(before), Content::Plain(text)) => {
                let turns = [Message::new("assistant", text.as_str())];
                encode_text(self.tokenizer, field, &self.answer_text(field, before, &turns)?)?
            }
            (Content::Plain(_), Content::Chat(_)) => {
                let expected = "a text, as the prompt is";
                return Err(RecordError::WrongType { field, expected, found: "a conversation" });
            }
        };
        Ok(Sequence::new(self.prompt(prompt)?, response))
    }

    /// What the turns of an answer add to the text of their prompt, without the line break that
    /// some templates put behind the marker that ends a turn.
    fn answer_text(
        &self,
        field: &'static str,
        before: &[Message],
        turns: &[Message],
    ) -> Result<String, RecordError> {
        let prompt = self.prompt_text(before)?;
        let all: Vec<Message> = before.iter().chain(turns).cloned().collect();
        let whole = self.template(field)?.render(&all, &self.render);
        let whole = whole.map_err(|e| RecordError::Chat { message: e.to_string() })?;
        let Some(answer) = whole.strip_prefix(&prompt) else {
            let message = "the template renders the prompt differently when it is answered";
            return Err(RecordError::Chat { message: message.into() });
        };
        let said = turns.last().and_then(Message::text).unwrap_or_default().trim_end();
        let trimmed = answer.trim_end();
        Ok(if trimmed.ends_with(said) { answer.to_owned() } else { trimmed.to_owned() })
    }
}

/// Whether rows of a format can stand for another.
fn serves(found: Format, wanted: Format) -> bool {
    let preference = matches!(
        found,
        Format::Preference
            | Format::HhRlhf
            | Format::TldrComparison
            | Format::UltraFeedback
            | Format::RewardBench
    );
    match wanted {
        Format::Prompt => {
            preference || matches!(found, Format::Prompt | Format::Completion | Format::Unpaired)
        }
        Format::Preference => preference,
        Format::Unpaired => preference || found == Format::Unpaired,
        Format::Completion => matches!(found, Format::Completion | Format::Unpaired),
        Format::Text => matches!(found, Format::Text | Format::Messages),
        other => found == other,
    }
}
