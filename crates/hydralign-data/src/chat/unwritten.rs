//! What a turn says beside its text, and whether the template writes it.

use super::{ChatTemplate, Message, RenderOptions};
use serde_json::{Map, Value};

/// Fields of a turn that say something, by what they are other names of. Whatever else stands beside role
/// and content (names, ids, dates, weights) leaves what is said as it is.
const SAYING: [&[&str]; 4] = [
    &["tool_calls", "function_call", "function_calls"],
    &["tools", "functions"],
    &["documents"],
    &["refusal"],
];

/// What the assistant thought before it spoke: templates leave that of earlier turns out on purpose.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl ChatTemplate {
    /// The first turn with a field of which the text has nothing, and the name of the field: calls of
    /// tools with each call's name and arguments, tools, documents, a refusal; and the reasoning of the
    /// assistant's turns from `learnt` on.
    pub(crate) fn unwritten(
        &self,
        messages: &[Message],
        learnt: usize,
        options: &RenderOptions,
        text: &str,
    ) -> Option<(usize, String)> {
        (0..messages.len()).find_map(|turn| {
            let message = &messages[turn];
            let reasons = turn >= learnt && message.role == "assistant" && message.learnt();
            let mut groups = SAYING.to_vec();
            groups.extend(reasons.then_some(&REASONING[..]));
            let unread = groups.into_iter().flat_map(|names| without(message, names)).find(
                |(_, changed)| {
                    let mut others = messages.to_vec();
                    others[turn].clone_from(changed);
                    self.render(&others, options).is_ok_and(|other| other == text)
                },
            );
            Some((turn, unread?.0))
        })
    }
}

/// A turn without a field under any of its names; of calls also without one of them, or with another name
/// or other arguments in it. Each with what has changed.
fn without(message: &Message, names: &[&str]) -> Vec<(String, Message)> {
    let given: Vec<&str> =
        names.iter().copied().filter(|name| message.extra.get(*name).is_some_and(says)).collect();
    let Some(first) = given.first() else { return Vec::new() };
    let mut bare = message.clone();
    bare.extra.retain(|name, _| !names.contains(&name.as_str()));
    let mut changed = vec![((*first).to_owned(), bare)];
    if *first != "tool_calls" {
        return changed;
    }
    let calls = message.extra[*first].as_array().cloned().unwrap_or_default();
    let mut put = |place: String, calls: Vec<Value>| {
        let mut other = message.clone();
        other.extra.insert((*first).to_owned(), calls.into());
        changed.push((place, other));
    };
    for (at, call) in calls.iter().enumerate() {
        let place = format!("{first}[{at}]");
        if calls.len() > 1 {
            let mut fewer = calls.clone();
            fewer.remove(at);
            put(place.clone(), fewer);
        }
        for key in ["name", "arguments"] {
            if let Some(call) = other_call(call, key) {
                let mut others = calls.clone();
                others[at] = call;
                put(format!("{place}.{key}"), others);
            }
        }
    }
    changed
}

/// A call that says something else under a key, of itself or of its function.
fn other_call(call: &Value, key: &str) -> Option<Value> {
    let mut call = call.clone();
    let holder = match call.get("function") {
        Some(Value::Object(_)) => &mut call["function"],
        _ => &mut call,
    };
    match holder.get_mut(key)? {
        Value::String(text) => text.push('0'),
        Value::Object(arguments) if !arguments.is_empty() => *arguments = Map::new(),
        _ => return None,
    }
    Some(call)
}

/// Whether there is something in a value.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(_) => true,
    }
}
