//! Columns by the names that the field gives them, made those of the formats.

use super::format::wrong;
use crate::RecordError;
use serde_json::{Map, Value, json};

/// What a user said, with the columns for what was answered.
const ASKED: [&str; 3] = ["instruction", "question", "query"];
const ANSWERED: [&str; 3] = ["output", "answer", "response"];
/// What a model of texts cannot read.
const MEDIA: [&str; 6] = ["image", "images", "audio", "audios", "video", "videos"];

/// Gives a row the columns of the formats.
///
/// `instruction` (with `input` behind a line break), `question` or `query` is the user's turn of a
/// prompt, `output`, `answer` or `response` the assistant's; `prompt` and `response` stay texts.
/// `conversations` beside `chosen` and `rejected` is their prompt, `kto_tag` a label. `system` and
/// `history` (questions with their answers) are turns before the prompt's.
///
/// # Errors
/// [`RecordError::Column`] for a column that changes what the row says, and cannot be followed.
pub(super) fn standard(row: &mut Map<String, Value>) -> Result<(), RecordError> {
    if let Some(column) = MEDIA.iter().find(|column| has(row, column)) {
        return Err(fault(column, "it is no text, and the model reads nothing else"));
    }
    let asked = ASKED.iter().find(|column| has(row, column)).filter(|_| !has(row, "prompt"));
    if let Some(column) = asked {
        ask(row, column)?;
    }
    let answers = |row: &Map<_, _>| has(row, "completion") || has(row, "chosen");
    let answered = ANSWERED.iter().find(|column| has(row, column)).filter(|_| !answers(row));
    match (answered, asked) {
        (Some(column), Some(_)) => {
            let said = row.shift_remove(*column).unwrap_or_default();
            row.insert("completion".into(), turn("assistant", column, said)?);
        }
        (Some(&"response"), None) if has(row, "prompt") => rename(row, "response", "completion"),
        _ => {}
    }
    if !has(row, "prompt") && has(row, "chosen") && has(row, "rejected") {
        rename(row, "conversations", "prompt");
    }
    if !has(row, "label") {
        rename(row, "kto_tag", "label");
    }
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

/// Makes what the user asked the prompt.
fn ask(row: &mut Map<String, Value>, column: &str) -> Result<(), RecordError> {
    let mut asked = row.shift_remove(column).unwrap_or_default();
    if column == "instruction"
        && let Some(Value::String(input)) = row.get("input").filter(|_| has(row, "input"))
        && let Value::String(instruction) = &mut asked
    {
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
    match row.get(column) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

fn fault(column: &str, reason: &str) -> RecordError {
    RecordError::Column { column: column.to_owned(), reason: reason.to_owned() }
}
