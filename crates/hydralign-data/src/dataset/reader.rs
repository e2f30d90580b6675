use super::columns::tools;
use super::format::columns;
use super::truncate::Fitted;
use super::turns::join;
use super::{Content, Example, Format, OnBadRow, Row, Rows, Skipped, Truncation, find_files};
use crate::encode::encode_completion;
use crate::{
    ChatTemplate, ChatTokens, DataError, PreferencePair, RecordError, RenderOptions, TextTokenizer,
};
use hydralign_core::Sequence;
use hydralign_json::NonFinite;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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
    /// What becomes of rows that nothing can be learnt from.
    pub on_bad_row: OnBadRow,
}

/// What came of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadReport {
    /// Rows read.
    pub rows: usize,
    /// Examples that lost tokens.
    pub cut: usize,
    /// Examples that were left out.
    pub dropped: usize,
    /// Turns behind the assistant's last that were left out.
    pub turns_cut: usize,
    /// Completions of several turns, of which the assistant's alone are learnt.
    pub masked: usize,
    /// Conversations read as prompts of which the first question is taken, and more turns follow its answer.
    pub first_questions: usize,
    /// Preferences with a `margin`, which is not used.
    pub margins: usize,
    /// Rows that were left out because nothing can be learnt from them.
    pub skipped: Skipped,
}

impl ReadReport {
    /// What the user should know of it, in words.
    pub fn notes(&self) -> Vec<String> {
        let notes = [
            (self.cut, "examples were cut to the context"),
            (self.dropped, "examples were left out: longer than the context"),
            (self.turns_cut, "turns behind the assistant's last were left out"),
            (self.masked, "completions have several turns, of which the assistant's are learnt"),
            (
                self.first_questions,
                "conversations go on behind their first answer: the prompt is what is before it \
                 (one that the user ends is a prompt as a whole)",
            ),
            (self.margins, "preferences have a `margin`, which no loss here uses"),
        ];
        let told = notes.into_iter().chain(self.skipped.causes()).filter(|(count, _)| *count > 0);
        told.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// A completion that was liked or not, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpairedSequence {
    /// Prompt and completion.
    pub sequence: Sequence,
    /// Whether it was liked.
    pub label: bool,
}

/// A prompt's tokens, and what they were made of: what a model with another tokenizer or template reads
/// instead.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSource {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The text or the turns.
    pub content: Content,
    /// How turns were rendered, with the tools and documents that belong to them.
    pub render: RenderOptions,
    /// The file that it was read from.
    pub path: Arc<Path>,
    /// Which of the file's rows it is, from 1: the line, element or row that a message would name. Rows
    /// that were left out are counted too.
    pub row: usize,
    /// All columns of the row under the names that its file gives them, for rewards; a number that JSON cannot
    /// express is null.
    pub columns: Map<String, Value>,
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
            on_bad_row: OnBadRow::Refuse,
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
        let example = self.example_of(self.renamed(&row.fields), fallback);
        // Numbers that nobody needs may be anything: the example stays the same.
        let matters = |numbers: &[NonFinite]| {
            let mut other = Value::Object(row.fields.clone());
            for NonFinite { pointer, number } in numbers {
                if let Some(place) = other.pointer_mut(pointer) {
                    *place = Value::String(number.to_string());
                }
            }
            let Value::Object(other) = other else { return false };
            self.example_of(self.renamed(&other), fallback) != example
        };
        if !matters(&row.non_finite) {
            return example;
        }
        let one = row.non_finite.iter().find(|number| matters(std::slice::from_ref(number)));
        let Some(NonFinite { pointer, number }) = one.or(row.non_finite.first()) else {
            return example;
        };
        let column = pointer.trim_start_matches('/').replace('/', ".");
        let column = column.replace("~1", "/").replace("~0", "~");
        let reason = format!("it is needed, and is the number {number}");
        Err(RecordError::Column { column, reason })
    }

    fn example_of(
        &self,
        fields: Map<String, Value>,
        fallback: Format,
    ) -> Result<Example, RecordError> {
        let format = match self.format {
            Format::Detect => match Format::of(&fields) {
                Ok(found) if fallback == Format::Detect || serves(found, fallback) => found,
                Ok(_) => fallback,
                Err(RecordError::NoFormat { .. }) if fallback != Format::Detect => fallback,
                Err(e) => return Err(e),
            },
            format => format,
        };
        self.settled(format, fields)
    }

    /// The fields of a row under the names of the format.
    fn renamed(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let mut fields = fields.clone();
        for (from, to) in &self.rename {
            if let Some(value) = fields.shift_remove(from) {
                fields.insert(to.clone(), value);
            }
        }
        fields
    }

    /// The example of fields, with roles that the template knows.
    fn settled(&self, format: Format, fields: Map<String, Value>) -> Result<Example, RecordError> {
        let (found, prompted) = (columns(&fields), fields.contains_key("prompt"));
        let missing = |field| RecordError::MissingColumn { field, columns: found.clone() };
        let mut example = format.example(fields).map_err(|e| match e {
            RecordError::MissingField { field } => missing(field),
            other => other,
        })?;
        if let (Example::Preference { prompt, .. }, false) = (&example, prompted)
            && prompt.is_empty()
        {
            return Err(missing("prompt"));
        }
        for (field, part) in example.parts() {
            part.settle_roles(field, self.template)?;
        }
        let mut before = Vec::new();
        for (_, part) in example.parts() {
            if let Some(template) = self.template {
                part.settle_parts(&before, template, &self.render);
            }
            if let (Content::Chat(turns), true) = (part, before.is_empty()) {
                before.clone_from(turns);
            }
        }
        Ok(example)
    }

    /// The reader for a row, which may bring tools of its own.
    fn for_row(&self, row: &Row) -> Result<Cow<'_, Self>, RecordError> {
        let tools = tools(&row.fields)?;
        if tools.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let render = RenderOptions { tools, ..self.render.clone() };
        Ok(Cow::Owned(Self { render, ..self.clone() }))
    }

    /// Refuses tools that come with a row and that its prompt does not speak of.
    fn reads_tools(&self, example: &mut Example) -> Result<(), RecordError> {
        let unread = |reason: &str| {
            let (column, reason) = ("tools".to_owned(), reason.to_owned());
            Err(RecordError::Column { column, reason })
        };
        let Some((field, Content::Chat(turns))) = example.parts().into_iter().next() else {
            return unread("the prompt is a text, which nothing is added to");
        };
        let without = RenderOptions { tools: Vec::new(), ..self.render.clone() };
        let text = |options| {
            let text = self.template(field)?.render(turns, options);
            text.map_err(|e| RecordError::Chat { message: e.to_string() })
        };
        match text(&self.render)? == text(&without)? {
            true => unread("the chat template writes nothing of them"),
            false => Ok(()),
        }
    }

    /// Reads every row of files and makes something of it.
    fn read<S: AsRef<str>, T>(
        &self,
        files: &[S],
        fallback: Format,
        mut take: impl FnMut(&Self, (&Row, Example), &mut ReadReport) -> Result<Vec<T>, RecordError>,
    ) -> Result<(Vec<T>, ReadReport), DataError> {
        let (mut items, mut report) = (Vec::new(), ReadReport::default());
        let skips = self.on_bad_row == OnBadRow::Skip;
        for row in Rows::new(find_files(files)?).past_faults(skips) {
            report.rows += 1;
            let before = report;
            let made = row.and_then(|row| {
                let made = self.made(&row, fallback, &mut report, &mut take);
                made.map_err(|fault| row.error(fault))
            });
            match made {
                Ok(made) => items.extend(made),
                Err(error) => {
                    // What was counted of the row before its fault was seen does not count.
                    report = before;
                    let passes = skips && error.is_of_one_record();
                    if !(passes && error.fault().is_some_and(|f| report.skipped.count(f))) {
                        return Err(error);
                    }
                }
            }
        }
        if items.is_empty() && (report.skipped.total() > 0 || report.dropped > 0) {
            let files = files.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
            let why = report.notes().join("; ");
            return Err(DataError::NothingLeft { files, rows: report.rows, why });
        }
        Ok((items, report))
    }

    /// What is made of a row.
    fn made<T>(
        &self,
        row: &Row,
        fallback: Format,
        report: &mut ReadReport,
        take: &mut impl FnMut(&Self, (&Row, Example), &mut ReadReport) -> Result<Vec<T>, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let reader = self.for_row(row)?;
        let mut example = reader.example(row, fallback)?;
        if matches!(reader, Cow::Owned(_)) {
            reader.reads_tools(&mut example)?;
        }
        let margin = row.fields.get("margin").is_some_and(|m| !m.is_null());
        report.margins += usize::from(margin && matches!(example, Example::Preference { .. }));
        take(&reader, (row, example), report)
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
        let (prompts, report) = self.prompt_sources(files)?;
        Ok((prompts.into_iter().map(|prompt| prompt.tokens).collect(), report))
    }

    /// As [`Reader::prompts`], each with what its tokens were made of.
    ///
    /// # Errors
    /// As [`Reader::prompts`].
    pub fn prompt_sources<S: AsRef<str>>(
        &self,
        files: &[S],
    ) -> Result<(Vec<PromptSource>, ReadReport), DataError> {
        self.read(files, Format::Prompt, |reader, (row, example), report| {
            let longer = example.goes_on();
            let content = example.into_prompt()?;
            report.first_questions += usize::from(longer);
            let mut tokens = reader.prompt(&content)?;
            let source = |tokens| PromptSource {
                tokens,
                content,
                render: reader.render.clone(),
                path: row.path.clone(),
                row: row.number,
                columns: row.fields.clone(),
            };
            let (bos, excess) =
                (self.bos(&tokens), (tokens.len() + 1).saturating_sub(self.context));
            if excess == 0 {
                return Ok(vec![source(tokens)]);
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
            Ok(vec![source(tokens)])
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
        self.read(files, Format::Completion, |reader, (_, example), report| {
            let (prompt, completion) = example.into_completion()?;
            let mut sequence = reader.sequence(&prompt, ("completion", &completion), report)?;
            let kept = self.keep(&mut [&mut sequence], "completion", report)?;
            Ok(kept.then_some(sequence).into_iter().collect())
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
        self.read(files, Format::Preference, |reader, (_, example), report| match example {
            Example::Preference { prompt, chosen, rejected } => {
                Ok(reader.pair_with(&prompt, &chosen, &rejected, report)?.into_iter().collect())
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
        let answers = [("chosen", chosen.clone()), ("rejected", rejected.clone())];
        let (prompt, [chosen, rejected]) = join(prompt.clone(), answers)?;
        self.pair_with(&prompt, &chosen, &rejected, &mut ReadReport::default())
    }

    fn pair_with(
        &self,
        prompt: &Content,
        chosen: &Content,
        rejected: &Content,
        report: &mut ReadReport,
    ) -> Result<Option<PreferencePair>, RecordError> {
        let mut chosen = self.sequence(prompt, ("chosen", chosen), report)?;
        let mut rejected = self.sequence(prompt, ("rejected", rejected), report)?;
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
        self.read(files, Format::Unpaired, |reader, (_, example), report| {
            let mut items = Vec::new();
            for (prompt, completion, label) in example.into_unpaired()? {
                let mut sequence = reader.sequence(&prompt, ("completion", &completion), report)?;
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
        self.read(files, Format::Text, |reader, (_, example), report| {
            let mut text = match example {
                Example::Text(Content::Plain(text)) => {
                    let tokens = encode_completion(self.tokenizer, "", ("text", &text))?;
                    let tokens = self.tokenizer.begin(tokens);
                    ChatTokens { assistant: vec![true; tokens.len()], tokens }
                }
                Example::Text(Content::Chat(turns)) => reader.conversation(&turns)?,
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

    pub(super) fn template(&self, field: &'static str) -> Result<&'a ChatTemplate, RecordError> {
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
            preference
                || matches!(
                    found,
                    Format::Prompt | Format::Completion | Format::Unpaired | Format::Messages
                )
        }
        Format::Preference => preference,
        Format::Unpaired => preference || found == Format::Unpaired,
        Format::Completion => {
            matches!(found, Format::Completion | Format::Unpaired | Format::Messages)
        }
        Format::Text => matches!(found, Format::Text | Format::Messages),
        other => found == other,
    }
}
