//! Columns by the names that the field gives them, made those of the formats.

use super::Content;
use super::format::wrong;
use super::turns::repeats;
use crate::RecordError;
use crate::chat::role_of;
use serde_json::{Map, Value, json};

/// What a user said, with the columns for what was answered.
const ASKED: [&str; 3] = ["instruction", "question", "query"];
const ANSWERED: [&str; 3] = ["output", "answer", "response"];
/// Columns that belong to what the user asks.
const ASKING: [&str; 7] =
    ["instruction", "question", "query", "input", "context", "passage", "knowledge"];
/// Other names of what the system says.
const SYSTEMS: [&str; 2] = ["system_prompt", "system_message"];
/// What would be given to a template, and is not.
const RENDERING: [&str; 3] = ["chat_template_kwargs", "documents", "functions"];
/// What a model of texts cannot read.
pub(super) const MEDIA: [&str; 19] = [
    "image",
    "images",
    "image_url",
    "image_urls",
    "input_image",
    "audio",
    "audios",
    "audio_url",
    "input_audio",
    "video",
    "videos",
    "video_url",
    "image_path",
    "image_paths",
    "audio_path",
    "video_path",
    "pixel_values",
    "attachments",
    "files",
];

/// Gives a row the columns of the formats.
///
/// `instruction`, `question` or `query` (with `input` behind a line break) is the user's turn of a
/// prompt, `output`, `answer` or `response` the assistant's; `prompt` and `response` stay texts.
/// `system_prompt` and `system_message` are `system`. `conversations` beside `chosen` and `rejected` is their prompt, and so are `messages` that the assistant
/// does not end; `kto_tag` is a label. `system` and `history` (questions with their answers) are turns
/// before the prompt's.
///
/// # Errors
/// [`RecordError::Column`] for a column that changes what the row says, and cannot be followed.
pub(super) fn standard(row: &mut Map<String, Value>) -> Result<(), RecordError> {
    if let Some(column) = MEDIA.iter().find(|column| has(row, column)) {
        return Err(fault(column, "it is no text, and the model reads nothing else"));
    }
    if let Some(column) = RENDERING.iter().find(|column| has(row, column)) {
        return Err(fault(
            column,
            "no template is given it: put it into the turns, or leave it out",
        ));
    }
    for (name, others) in [("system", &SYSTEMS[..]), ("label", &["kto_tag"])] {
        for other in others {
            one_of_two(row, name, other)?;
        }
    }
    let asked = ASKED.iter().find(|column| has(row, column)).filter(|_| !has(row, "prompt"));
    refuse_unread(row, asked.copied())?;
    if let Some(column) = asked {
        ask(row, column)?;
    }
    let answers = |row: &Map<_, _>| has(row, "completion") || has(row, "chosen");
    let differs = |other: &&&str| has(row, other) && row[**other] != row["completion"];
    if has(row, "completion")
        && has(row, "prompt")
        && let Some(other) = ANSWERED.iter().find(differs)
    {
        let reason = "it says something else than `completion`: one of them is the answer";
        return Err(fault(other, reason));
    }
    let answered = ANSWERED.iter().find(|column| has(row, column)).filter(|_| !answers(row));
    match (answered, asked) {
        (Some(column), Some(_)) => {
            let differs = |other: &&&str| has(row, other) && row[**other] != row[*column];
            if let Some(other) = ANSWERED.iter().find(differs) {
                let reason =
                    format!("it says something else than `{column}`: one of them is the answer");
                return Err(fault(other, &reason));
            }
            let said = row.shift_remove(*column).unwrap_or_default();
            row.retain(|name, _| !ANSWERED.contains(&name.as_str())); // they say the same
            row.insert("completion".into(), turn("assistant", column, said)?);
        }
        (Some(&"response"), None) if has(row, "prompt") => rename(row, "response", "completion"),
        _ => {}
    }
    if !has(row, "prompt") && has(row, "chosen") && has(row, "rejected") {
        rename(row, "conversations", "prompt");
        messages_as_prompt(row)?;
    }
    same_prompt(row)?;
    earlier_turns(row, asked.is_some())
}

/// The tools of a row: a list of JSON schemas, or its text.
pub(super) fn tools(row: &Map<String, Value>) -> Result<Vec<Value>, RecordError> {
    if !has(row, "tools") {
        return Ok(Vec::new());
    }
    let value = match &row["tools"] {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|e| fault("tools", &format!("a text that is not JSON: {e}")))?,
        other => other.clone(),
    };
    match value {
        Value::Array(tools) if tools.iter().all(Value::is_object) => Ok(tools),
        other => Err(wrong("tools", "a list of JSON schemas", &other)),
    }
}

/// Gives a column its name where it has another one.
fn one_of_two(row: &mut Map<String, Value>, name: &str, other: &str) -> Result<(), RecordError> {
    if !has(row, other) {
        return Ok(());
    }
    if has(row, name) && row[name] != row[other] {
        return Err(fault(other, &format!("it says something else than `{name}`")));
    }
    rename(row, other, name);
    Ok(())
}

/// Refuses columns of a question that would not be read, and that what is read does not hold already.
fn refuse_unread(row: &Map<String, Value>, asked: Option<&str>) -> Result<(), RecordError> {
    let (base, reason) = match asked {
        Some(column) => (column, format!("beside `{column}` it is not read")),
        None if has(row, "prompt") => ("prompt", "beside `prompt` it is not read".to_owned()),
        None if has(row, "chosen") && !has(row, "conversations") && !has(row, "messages") => {
            ("chosen", "it is no prompt by itself".to_owned())
        }
        None => return Ok(()),
    };
    let joined = |column: &str| asked.is_some() && column == "input";
    let holds = |column: &str| match &row[column] {
        Value::String(text) => all_text(&row[base]).contains(text.trim()),
        other => *other == row[base],
    };
    let mut lost = ASKING.into_iter().filter(|column| *column != base && !joined(column));
    match lost.find(|column| has(row, column) && !holds(column)) {
        Some(column) => {
            let remedy = "put it into `prompt` (a text) or `instruction` (the user's turn, with `input` \
                          behind it), or leave it out";
            Err(fault(column, &format!("{reason}; {remedy}")))
        }
        None => Ok(()),
    }
}

/// Every text in a value.
fn all_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| all_text(item) + "\n").collect(),
        Value::Object(fields) => fields.values().map(|item| all_text(item) + "\n").collect(),
        _ => String::new(),
    }
}

/// Makes `messages` the prompt of two completions, unless they are one of them.
fn messages_as_prompt(row: &mut Map<String, Value>) -> Result<(), RecordError> {
    if has(row, "prompt") || !has(row, "messages") {
        return Ok(());
    }
    let messages = &row["messages"];
    if ["chosen", "rejected"].iter().any(|side| &row[*side] == messages) {
        return Ok(());
    }
    let last = messages.as_array().and_then(|turns| turns.last());
    let speaker = last.and_then(|turn| turn.get("role").or(turn.get("from")));
    if speaker.and_then(Value::as_str).and_then(role_of) == Some("assistant") {
        let reason = "it ends with an answer that is neither `chosen` nor `rejected`";
        return Err(fault("messages", reason));
    }
    rename(row, "messages", "prompt");
    Ok(())
}

/// Refuses a conversation beside a prompt that is none of its turns: one of them would not be read.
fn same_prompt(row: &Map<String, Value>) -> Result<(), RecordError> {
    for column in ["messages", "conversations"] {
        if !has(row, "prompt") || !has(row, column) {
            continue;
        }
        let prompt = Content::from_value("prompt", row["prompt"].clone())?;
        let Content::Chat(turns) = Content::from_value(column, row[column].clone())? else {
            return Err(wrong(column, "a list of messages", &row[column]));
        };
        if !repeats(&turns, &prompt) {
            let reason = "it does not hold what `prompt` says: one of them would not be read";
            return Err(fault(column, reason));
        }
    }
    Ok(())
}

/// Makes what the user asked the prompt.
fn ask(row: &mut Map<String, Value>, column: &str) -> Result<(), RecordError> {
    let mut asked = row.shift_remove(column).unwrap_or_default();
    if has(row, "input") {
        let (Some(Value::String(input)), Value::String(instruction)) =
            (row.get("input"), &mut asked)
        else {
            let reason = format!("it goes behind `{column}` where both are texts");
            return Err(fault("input", &reason));
        };
        instruction.push('\n');
        instruction.push_str(input);
    }
    row.insert("prompt".into(), turn("user", column, asked)?);
    Ok(())
}

/// Puts the turns of `system` and `history` before those of the prompt.
fn earlier_turns(row: &mut Map<String, Value>, asked: bool) -> Result<(), RecordError> {
    if has(row, "history") && !asked {
        return Err(fault("history", "it goes with `instruction` or `question`, not with turns"));
    }
    let mut before = Vec::new();
    if has(row, "system") {
        match &row["system"] {
            Value::String(text) => before.push(json!({"role": "system", "content": text})),
            other => return Err(fault("system", &format!("not a text but {other}"))),
        }
    }
    if has(row, "history") {
        before.extend(history(&row["history"])?);
    }
    if before.is_empty() {
        return Ok(());
    }
    let field = ["prompt", "messages", "conversations"].into_iter().find(|field| has(row, field));
    let chats = ["completion", "chosen"].iter().any(|f| row.get(*f).is_some_and(Value::is_array));
    match field.and_then(|field| row.get_mut(field)) {
        Some(Value::Array(turns)) => {
            let speaks_first = turns.first().and_then(|turn| turn.get("role").or(turn.get("from")));
            if speaks_first.and_then(Value::as_str) == Some("system") {
                return Err(fault("system", "the conversation has a system turn of its own"));
            }
            turns.splice(0..0, before);
        }
        Some(prompt @ Value::String(_)) if chats => {
            before.push(json!({"role": "user", "content": prompt.take()}));
            *prompt = before.into();
        }
        _ => return Err(fault("system", "there is no conversation that it could stand before")),
    }
    row.shift_remove("system");
    row.shift_remove("history");
    Ok(())
}

/// Questions with their answers as turns.
fn history(value: &Value) -> Result<Vec<Value>, RecordError> {
    let pairs: Vec<(String, String)> = serde_json::from_value(value.clone())
        .map_err(|_| fault("history", "not a list of questions with their answers"))?;
    let turns = |(asked, said)| {
        [json!({"role": "user", "content": asked}), json!({"role": "assistant", "content": said})]
    };
    Ok(pairs.into_iter().flat_map(turns).collect())
}

fn turn(role: &str, column: &str, said: Value) -> Result<Value, RecordError> {
    match said {
        Value::String(text) => Ok(json!([{"role": role, "content": text}])),
        turns @ Value::Array(_) => Ok(turns),
        _ => Err(fault(column, "neither a text nor turns")),
    }
}

fn rename(row: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = row.shift_remove(from) {
        row.insert(to.into(), value);
    }
}

/// Whether there is something in a column.
fn has(row: &Map<String, Value>, column: &str) -> bool {
    row.get(column).is_some_and(says)
}

/// Whether there is something in a value: blanks are nothing.
pub(super) fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn fault(column: &str, reason: &str) -> RecordError {
    RecordError::Column { column: column.to_owned(), reason: reason.to_owned() }
}
