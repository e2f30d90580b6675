//! Where a prompt ends and its completions begin.

use super::Content;
use crate::chat::role_of;
use crate::{Message, RecordError};

/// A completion and its column.
type Answer = (&'static str, Content);

/// Puts a prompt and its completions together, so that no turn is lost or doubled.
///
/// Texts stay as they are. Where one of them is a conversation, a plain prompt is the user's turn and
/// a plain completion the assistant's (behind a prompt that ends in the assistant's turn it goes on
/// with that). Turns that repeat the prompt, or its end, are the prompt once; a plain prompt may be
/// any of the user's turns in a conversation. A system turn may stand on either side. Turns
/// before the assistant's first belong to the prompt.
///
/// # Errors
/// [`RecordError::Turns`] for turns of the user that do not repeat the prompt, system turns that
/// differ, an answer without the assistant, and completions of different prompts.
pub(super) fn join<const N: usize>(
    prompt: Content,
    answers: [Answer; N],
) -> Result<(Content, [Content; N]), RecordError> {
    let plain = matches!(prompt, Content::Plain(_));
    if plain && answers.iter().all(|(_, a)| matches!(a, Content::Plain(_))) {
        twice(&prompt, &answers)?;
        return Ok((prompt, answers.map(|(_, answer)| answer)));
    }
    let turns = match &prompt {
        // An empty prompt leaves the word to conversations that have one.
        Content::Plain(text) if text.is_empty() => {
            let whole = |(_, a): &Answer| matches!(a, Content::Chat(turns) if asks(turns));
            if !answers.iter().all(whole) {
                return Err(RecordError::EmptyText { field: "prompt" });
            }
            Vec::new()
        }
        Content::Plain(text) => vec![Message::new("user", text.as_str())],
        Content::Chat(turns) => turns.clone(),
    };
    let goes_on = speaks(turns.last(), "assistant");
    let mut before: Option<(&'static str, Vec<Message>)> = None;
    let mut rests = Vec::with_capacity(N);
    for (field, answer) in answers {
        let (whole, rest) = match answer {
            Content::Plain(text) if goes_on => (turns.clone(), Content::Plain(text)),
            Content::Plain(text) => {
                (turns.clone(), Content::Chat(vec![Message::new("assistant", text)]))
            }
            Content::Chat(answer) => {
                let (whole, rest) = part(&turns, plain, answer)
                    .map_err(|reason| RecordError::Turns { field, reason })?;
                (whole, Content::Chat(rest))
            }
        };
        match &before {
            Some((other, turns)) if !same_turns(turns, &whole) => {
                let reason = format!("its prompt is another than that of `{other}`");
                return Err(RecordError::Turns { field, reason });
            }
            Some(_) => {}
            None => before = Some((field, whole)),
        }
        rests.push(rest);
    }
    let turns = before.map_or(turns, |(_, turns)| turns);
    let rests = rests.try_into().unwrap_or_else(|_| unreachable!("one rest an answer"));
    Ok((Content::Chat(turns), rests))
}

/// Refuses texts that all repeat their prompt of several words: it would stand twice. One answer may
/// well begin as its prompt does.
fn twice(prompt: &Content, answers: &[Answer]) -> Result<(), RecordError> {
    let Content::Plain(prompt) = prompt else { return Ok(()) };
    let prompt = prompt.trim();
    let repeats = |(_, answer): &Answer| match answer {
        Content::Plain(text) => text.trim_start().starts_with(prompt),
        Content::Chat(_) => false,
    };
    match answers {
        [first, _, ..] if prompt.contains(char::is_whitespace) && answers.iter().all(repeats) => {
            let reason = "it begins with the whole prompt, as the other completion does, so that the \
                          prompt would stand twice; without the column `prompt` it is what both \
                          begin with";
            Err(RecordError::Turns { field: first.0, reason: reason.into() })
        }
        _ => Ok(()),
    }
}

/// The prompt and the answer of a conversation beside a prompt.
fn part(
    prompt: &[Message],
    plain: bool,
    answer: Vec<Message>,
) -> Result<(Vec<Message>, Vec<Message>), String> {
    let (system, body) = prompt.split_at(leading_system(prompt));
    let (other, said) = answer.split_at(leading_system(&answer));
    if !system.is_empty() && !other.is_empty() && !same_turns(system, other) {
        return Err("its system turn is another than the prompt's".into());
    }
    let system = if system.is_empty() { other } else { system };
    let lead = said.iter().take_while(|m| role_of(&m.role) != Some("assistant")).count();
    let asks = asks(&said[..lead]);
    let (before, rest) = if !body.is_empty() && starts_with(said, body) {
        (body, &said[body.len()..])
    } else if let Some(at) =
        said.iter().position(|m| plain && body.first().is_some_and(|asked| same(m, asked)))
    {
        (&said[..=at], &said[at + 1..])
    } else if asks && body.len() >= lead && same_turns(&body[body.len() - lead..], &said[..lead]) {
        (body, &said[lead..])
    } else if asks && speaks(body.last(), "user") {
        return Err("it begins with a turn of the user that does not repeat the prompt".into());
    } else {
        (body, said)
    };
    if speaks(before.last(), "assistant") && speaks(rest.first(), "assistant") {
        let reason = "it begins with a turn of the assistant, and the prompt ends in one; \
                      what goes on with that turn is a text";
        return Err(reason.into());
    }
    let lead = rest.iter().position(|m| role_of(&m.role) == Some("assistant"));
    let lead = lead.ok_or("it has no turn of the assistant behind the prompt")?;
    let (more, rest) = rest.split_at(lead);
    Ok(([system, before, more].concat(), rest.to_vec()))
}

/// A conversation as a prompt and all that follows from the assistant's first turn.
pub(super) fn split_conversation(
    field: &'static str,
    mut turns: Vec<Message>,
) -> Result<(Content, Content), RecordError> {
    let first = turns.iter().position(|m| role_of(&m.role) == Some("assistant"));
    let fault = |reason: &str| RecordError::Turns { field, reason: reason.into() };
    let first = first.ok_or_else(|| fault("there is no turn of the assistant"))?;
    if first == 0 {
        return Err(fault("it begins with the assistant: there is no prompt"));
    }
    let rest = turns.split_off(first);
    Ok((Content::Chat(turns), Content::Chat(rest)))
}

/// Takes away the turns behind the assistant's last; how many those were.
pub(super) fn end_with_answer(content: &mut Content) -> usize {
    let Content::Chat(turns) = content else { return 0 };
    let last = turns.iter().rposition(|m| role_of(&m.role) == Some("assistant"));
    let Some(last) = last else { return 0 };
    let cut = turns.len() - last - 1;
    turns.truncate(last + 1);
    cut
}

/// Whether turns repeat a prompt: a text that is one of them, or turns that they begin with.
pub(super) fn repeats(turns: &[Message], prompt: &Content) -> bool {
    match prompt {
        Content::Plain(text) => {
            let says = |turn: &Message| turn.said().is_some_and(|said| said.trim() == text.trim());
            turns.iter().any(|turn| !speaks(Some(turn), "assistant") && says(turn))
        }
        Content::Chat(prompt) => {
            let body = |turns: &[Message]| turns[leading_system(turns)..].to_vec();
            starts_with(turns, prompt) || starts_with(&body(turns), &body(prompt))
        }
    }
}

/// Whether the user speaks in these turns.
pub(super) fn asks(turns: &[Message]) -> bool {
    turns.iter().any(|turn| role_of(&turn.role) == Some("user"))
}

fn leading_system(turns: &[Message]) -> usize {
    turns.iter().take_while(|m| role_of(&m.role) == Some("system")).count()
}

fn speaks(turn: Option<&Message>, role: &str) -> bool {
    turn.is_some_and(|turn| role_of(&turn.role) == Some(role))
}

fn starts_with(turns: &[Message], beginning: &[Message]) -> bool {
    turns.len() >= beginning.len() && same_turns(&turns[..beginning.len()], beginning)
}

fn same_turns(a: &[Message], b: &[Message]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// Whether two turns say the same, whatever they call the speaker. Templates take blanks off the
/// ends of a text, and so do data that repeat it.
fn same(a: &Message, b: &Message) -> bool {
    let content = match (a.said(), b.said()) {
        (Some(a), Some(b)) => a.trim() == b.trim(),
        _ => a.content == b.content,
    };
    let role = |m: &Message| role_of(&m.role).map_or_else(|| m.role.clone(), str::to_owned);
    content && role(a) == role(b) && a.extra == b.extra
}
