//! The shapes in which well-known preference data are published.

use super::format::{implicit, take, wrong};
use super::turns::join;
use super::{Content, Example};
use crate::{Message, RecordError};
use serde_json::{Map, Value};

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Whether both completions are transcripts of HH-RLHF.
pub(super) fn is_hh_rlhf(row: &Map<String, Value>) -> bool {
    let transcript = |field| {
        let text = row.get(field).and_then(Value::as_str).unwrap_or_default();
        text.starts_with(HUMAN) && text.contains(ASSISTANT)
    };
    row.get("prompt").is_none() && transcript("chosen") && transcript("rejected")
}

/// Two transcripts with a beginning in common. Those that part at a turn of the human's are refused.
pub(super) fn hh_rlhf(chosen: &str, rejected: &str) -> Result<Example, RecordError> {
    let [chosen, rejected] =
        [turns("chosen", chosen)?, turns("rejected", rejected)?].map(Content::Chat);
    implicit(chosen, rejected)
}

fn turns(field: &'static str, transcript: &str) -> Result<Vec<Message>, RecordError> {
    let (mut turns, mut rest) = (Vec::new(), transcript);
    while !rest.is_empty() {
        let (role, after) = match (rest.strip_prefix(HUMAN), rest.strip_prefix(ASSISTANT)) {
            (Some(after), _) => ("user", after),
            (_, Some(after)) => ("assistant", after),
            _ => {
                let expected = "a transcript of Human and Assistant";
                return Err(RecordError::WrongType { field, expected, found: "another text" });
            }
        };
        let end = [HUMAN, ASSISTANT].iter().filter_map(|next| after.find(next)).min();
        let (said, next) = after.split_at(end.unwrap_or(after.len()));
        turns.push(Message::new(role, said.trim()));
        rest = next;
    }
    Ok(turns)
}

/// A post with two summaries (Stiennon et al. 2020). The prompt is laid out as in the paper's
/// appendix B: subreddit, title, post, `TL;DR:`.
pub(super) fn tldr_comparison(row: &mut Map<String, Value>) -> Result<Example, RecordError> {
    let info = take(row, "info")?;
    let field = |name: &str| info.get(name).and_then(Value::as_str);
    let title = field("title").map_or(String::new(), |t| format!("TITLE: {t}\n\n"));
    let prompt = match (field("subreddit"), field("post"), field("article")) {
        (Some(sub), Some(post), _) => {
            format!("SUBREDDIT: r/{sub}\n\n{title}POST: {post}\n\nTL;DR:")
        }
        (_, _, Some(article)) => format!("{title}{article}\n\nTL;DR:"),
        _ => return Err(wrong("info", "an object with a post or an article", &info)),
    };
    let summaries = take(row, "summaries")?;
    let choice = take(row, "choice")?;
    let text = |i: usize| {
        let text = summaries.get(i).and_then(|s| s.get("text")).and_then(Value::as_str);
        let text = text.ok_or_else(|| wrong("summaries", "a list of two texts", &summaries))?;
        Ok(Content::Plain(text.to_owned()))
    };
    let chosen = match choice.as_u64() {
        Some(i @ (0 | 1)) => i as usize,
        _ => return Err(wrong("choice", "0 or 1", &choice)),
    };
    Ok(Example::Preference {
        prompt: Content::Plain(prompt),
        chosen: text(chosen)?,
        rejected: text(1 - chosen)?,
    })
}

/// Plain texts as single turns of user and assistant.
pub(super) fn reward_bench(
    prompt: Content,
    chosen: Content,
    rejected: Content,
) -> Result<Example, RecordError> {
    let turn = |role: &str, content| match content {
        Content::Plain(text) => Content::Chat(vec![Message::new(role, text)]),
        chat => chat,
    };
    let (chosen, rejected) = (turn("assistant", chosen), turn("assistant", rejected));
    let answers = [("chosen", chosen), ("rejected", rejected)];
    let (prompt, [chosen, rejected]) = join(turn("user", prompt), answers)?;
    Ok(Example::Preference { prompt, chosen, rejected })
}
