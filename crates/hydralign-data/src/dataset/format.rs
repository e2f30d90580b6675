use super::columns::standard;
use super::published::{hh_rlhf, is_hh_rlhf, reward_bench, tldr_comparison};
use super::turns::{asks, join, split_conversation};
use super::{Content, Example};
use crate::chat::role_of;
use crate::records::kind;
use crate::{Message, RecordError};
use serde_json::{Map, Value};

/// The shape of a row. Keys that a shape does not know are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Told from the columns of each row, as TRL tells its formats apart.
    #[default]
    Detect,
    /// `text`: a string.
    Text,
    /// `messages` (or `conversations`): turns.
    Messages,
    /// `prompt`.
    Prompt,
    /// `prompt`, `completion`.
    Completion,
    /// `chosen`, `rejected`, and `prompt`, or a prompt that both begin with.
    Preference,
    /// `label`, and `prompt` with `completion`, or `messages`.
    Unpaired,
    /// Anthropic's HH-RLHF: `chosen` and `rejected` are transcripts of `\n\nHuman:` and
    /// `\n\nAssistant:`. Read as turns.
    HhRlhf,
    /// OpenAI's comparisons of summaries: `info`, `summaries`, `choice`.
    TldrComparison,
    /// UltraFeedback, binarized: as [`Format::Preference`], where `chosen` and `rejected` are
    /// conversations with the prompt in them.
    UltraFeedback,
    /// RewardBench: `prompt`, `chosen` and `rejected` are single turns of user and assistant.
    RewardBench,
}

impl Format {
    /// The example that a row holds.
    ///
    /// # Errors
    /// A missing column, a column of another type, columns that no format has; each named.
    pub fn example(self, mut row: Map<String, Value>) -> Result<Example, RecordError> {
        let row = &mut row;
        standard(row)?;
        match self {
            Self::Detect => Self::of(row)?.example(std::mem::take(row)),
            Self::Text => match take(row, "text")? {
                Value::String(text) => Ok(Example::Text(Content::Plain(text))),
                other => Err(wrong("text", "a string", &other)),
            },
            Self::Messages => Ok(Example::Text(Content::Chat(messages(row)?.1))),
            Self::Prompt => content(row, "prompt").map(Example::Prompt),
            Self::Completion => {
                let (prompt, completion) = completion(row)?;
                Ok(Example::Completion { prompt, completion })
            }
            Self::Preference | Self::UltraFeedback => preference(row),
            Self::Unpaired => {
                let label = label(take(row, "label")?)?;
                let (prompt, completion) = match row.contains_key("completion") {
                    true => completion(row)?,
                    false => {
                        let (field, turns) = messages(row)?;
                        split_conversation(field, turns)?
                    }
                };
                Ok(Example::Unpaired { prompt, completion, label })
            }
            Self::HhRlhf => hh_rlhf(&text(row, "chosen")?, &text(row, "rejected")?),
            Self::TldrComparison => tldr_comparison(row),
            Self::RewardBench => {
                let prompt = content(row, "prompt")?;
                reward_bench(prompt, content(row, "chosen")?, content(row, "rejected")?)
            }
        }
    }

    /// The shape that the columns of a row have.
    ///
    /// # Errors
    /// [`RecordError::NoFormat`] with the columns found; [`RecordError::Column`].
    pub fn of(row: &Map<String, Value>) -> Result<Self, RecordError> {
        let mut named = row.clone();
        standard(&mut named)?;
        let row = &named;
        let has = |names: &[&str]| names.iter().all(|n| row.get(*n).is_some_and(|v| !v.is_null()));
        let format = if has(&["info", "summaries", "choice"]) {
            Self::TldrComparison
        } else if has(&["chosen", "rejected"]) {
            if is_hh_rlhf(row) { Self::HhRlhf } else { Self::Preference }
        } else if has(&["label"])
            && (has(&["prompt", "completion"]) || has(&["messages"]) || has(&["conversations"]))
        {
            Self::Unpaired
        } else if has(&["prompt", "completion"]) {
            Self::Completion
        } else if has(&["messages"]) || has(&["conversations"]) {
            Self::Messages
        } else if has(&["prompt"]) {
            Self::Prompt
        } else if has(&["text"]) {
            Self::Text
        } else {
            return Err(RecordError::NoFormat { columns: columns(row) });
        };
        Ok(format)
    }
}

pub(super) fn take(
    row: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Value, RecordError> {
    row.get_mut(field).map(Value::take).ok_or(RecordError::MissingField { field })
}

fn content(row: &mut Map<String, Value>, field: &'static str) -> Result<Content, RecordError> {
    Content::from_value(field, take(row, field)?)
}

fn text(row: &mut Map<String, Value>, field: &'static str) -> Result<String, RecordError> {
    match take(row, field)? {
        Value::String(text) => Ok(text),
        other => Err(wrong(field, "a string", &other)),
    }
}

pub(super) fn wrong(field: &'static str, expected: &'static str, found: &Value) -> RecordError {
    RecordError::WrongType { field, expected, found: kind(found) }
}

/// True, false, or 1 and 0 as many files have it.
fn label(value: Value) -> Result<bool, RecordError> {
    match (&value, value.as_f64()) {
        (Value::Bool(flag), _) => Ok(*flag),
        (_, Some(1.0)) => Ok(true),
        (_, Some(0.0)) => Ok(false),
        _ => Err(wrong("label", "true, false, 1 or 0", &value)),
    }
}

/// The names of a row's columns.
pub(super) fn columns(row: &Map<String, Value>) -> String {
    row.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The turns of a conversation, and the name of their column.
fn messages(row: &mut Map<String, Value>) -> Result<(&'static str, Vec<Message>), RecordError> {
    let field = if row.contains_key("conversations") && !row.contains_key("messages") {
        "conversations"
    } else {
        "messages"
    };
    match content(row, field)? {
        Content::Plain(text) => Err(wrong(field, "a list of messages", &text.into())),
        Content::Chat(turns) => Ok((field, turns)),
    }
}

fn completion(row: &mut Map<String, Value>) -> Result<(Content, Content), RecordError> {
    let prompt = content(row, "prompt")?;
    let (prompt, [completion]) = join(prompt, [("completion", content(row, "completion")?)])?;
    Ok((prompt, completion))
}

/// A preference with a prompt of its own, or with the one that both completions begin with.
fn preference(row: &mut Map<String, Value>) -> Result<Example, RecordError> {
    let prompt = match row.get("prompt") {
        None | Some(Value::Null) => None,
        Some(_) => Some(content(row, "prompt")?),
    };
    let (chosen, rejected) = (content(row, "chosen")?, content(row, "rejected")?);
    let whole =
        [&chosen, &rejected].iter().all(|c| matches!(c, Content::Chat(turns) if asks(turns)));
    match prompt {
        None => implicit(chosen, rejected),
        Some(prompt) if prompt.is_empty() && whole => implicit(chosen, rejected),
        Some(Content::Plain(text)) if whole => repeated(&text, chosen.clone(), rejected.clone())
            .unwrap_or_else(|| joined(Content::Plain(text), chosen, rejected)),
        Some(prompt) => joined(prompt, chosen, rejected),
    }
}

fn joined(prompt: Content, chosen: Content, rejected: Content) -> Result<Example, RecordError> {
    let (prompt, [chosen, rejected]) = join(prompt, [("chosen", chosen), ("rejected", rejected)])?;
    Ok(Example::Preference { prompt, chosen, rejected })
}

/// Two conversations whose common beginning has a plain prompt as one of the user's turns.
fn repeated(
    text: &str,
    chosen: Content,
    rejected: Content,
) -> Option<Result<Example, RecordError>> {
    let found = implicit(chosen, rejected);
    match &found {
        Ok(Example::Preference { prompt: Content::Chat(turns), .. }) => {
            let says = |turn: &Message| turn.said().is_some_and(|said| said.trim() == text.trim());
            turns.iter().any(|turn| turn.role == "user" && says(turn)).then_some(found)
        }
        Err(RecordError::Identical) => Some(found),
        _ => None,
    }
}

/// Takes the common beginning as the prompt. A text keeps the space before its first differing
/// word with the completion, and each completion keeps its last part even if the other begins
/// with it (TRL, `data_utils.py::extract_prompt`). Departure: of two equal
/// completions TRL takes all but the last character as the prompt; here they are refused, and so are
/// conversations that part before any turn or at another turn than the assistant's.
pub(super) fn implicit(chosen: Content, rejected: Content) -> Result<Example, RecordError> {
    match (chosen, rejected) {
        (Content::Chat(mut chosen), Content::Chat(mut rejected)) => {
            if chosen == rejected {
                return Err(RecordError::Identical);
            }
            let most = chosen.len().min(rejected.len()).saturating_sub(1);
            let pairs = chosen.iter().zip(&rejected).take(most);
            let same = pairs.take_while(|(a, b)| a == b).count();
            parting(same, &[("chosen", &chosen[same..]), ("rejected", &rejected[same..])])?;
            let prompt = Content::Chat(chosen.drain(..same).collect());
            rejected.drain(..same);
            let [chosen, rejected] = [chosen, rejected].map(Content::Chat);
            Ok(Example::Preference { prompt, chosen, rejected })
        }
        (Content::Plain(chosen), Content::Plain(rejected)) => {
            if chosen == rejected {
                return Err(RecordError::Identical);
            }
            let most = chosen.chars().count().min(rejected.chars().count()).saturating_sub(1);
            let pairs = chosen.char_indices().zip(rejected.chars()).take(most);
            let same: Vec<(usize, char)> =
                pairs.take_while(|((_, a), b)| a == b).map(|(place, _)| place).collect();
            let end = match same.last() {
                Some((at, ' ')) => *at,
                Some((at, c)) => at + c.len_utf8(),
                None => 0,
            };
            let part = |text: &str| Content::Plain(text.to_owned());
            Ok(Example::Preference {
                prompt: part(&chosen[..end]),
                chosen: part(&chosen[end..]),
                rejected: part(&rejected[end..]),
            })
        }
        _ => Err(RecordError::WrongType {
            field: "rejected",
            expected: "of the same kind as `chosen`",
            found: "another",
        }),
    }
}

/// Two conversations are completions of one prompt if they have a beginning in common, and go on with
/// what the assistant says.
fn parting(same: usize, rests: &[(&'static str, &[Message]); 2]) -> Result<(), RecordError> {
    if same == 0 {
        let reason = "it has no turn in common with the other completion, and there is no prompt";
        return Err(RecordError::Turns { field: rests[0].0, reason: reason.into() });
    }
    for (field, rest) in rests {
        let speaker = rest.first().map(|turn| turn.role.as_str()).unwrap_or_default();
        if role_of(speaker) != Some("assistant") {
            let reason = format!(
                "it parts from the other completion at turn {} of `{speaker}`: they answer different \
                 turns",
                same + 1
            );
            return Err(RecordError::Turns { field, reason });
        }
    }
    Ok(())
}
