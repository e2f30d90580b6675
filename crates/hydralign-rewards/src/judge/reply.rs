//! What a judge said, held to what it was asked.

use crate::judge::Scale;
use crate::judge::fault::Fault;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
}

#[derive(Deserialize)]
struct Said {
    content: String,
}

/// The text of the first choice of a chat completion.
pub(crate) fn content(body: &[u8]) -> Result<String, Fault> {
    let completion: Option<Completion> = serde_json::from_slice(body).ok();
    let first = completion.and_then(|completion| completion.choices.into_iter().next());
    first
        .map(|choice| choice.message.content)
        .ok_or_else(|| Fault::NotACompletion { reply: String::from_utf8_lossy(body).into_owned() })
}

/// Exactly `expected` scores inside the scale.
pub(crate) fn scores(content: &str, expected: usize, scale: Scale) -> Result<Vec<f32>, Fault> {
    let reply = || content.to_owned();
    let scores = match object_with(content, "scores") {
        Some(Value::Array(scores)) => scores,
        _ => return Err(Fault::NotJson { reply: reply() }),
    };
    if scores.len() != expected {
        return Err(Fault::WrongCount { expected, got: scores.len(), reply: reply() });
    }
    let checked = scores.iter().enumerate().map(|(index, score)| {
        let value = score.as_f64().ok_or_else(|| Fault::NotANumber { index, reply: reply() })?;
        // Inside the scale means finite as well.
        let inside = scale.holds(value).then_some(value as f32);
        inside.ok_or_else(|| Fault::OutOfScale { index, value, reply: reply() })
    });
    checked.collect()
}

/// The value of a key in the last complete JSON object that has it: bare, in a fence, or after
/// prose. The last, for a judge may quote what it judges before it answers.
pub(crate) fn object_with(content: &str, key: &str) -> Option<Value> {
    let answer = after_thoughts(content);
    answer.match_indices('{').collect::<Vec<_>>().into_iter().rev().find_map(|(at, _)| {
        let mut values = serde_json::Deserializer::from_str(&answer[at..]).into_iter();
        let object: Map<String, Value> = values.next()?.ok()?;
        object.get(key).cloned()
    })
}

/// Models that reason aloud often draft an answer first; the answer is what follows.
fn after_thoughts(content: &str) -> &str {
    content.rsplit_once("</think>").map_or(content, |(_, answer)| answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { low: 0.0, high: 10.0 };

    #[test]
    fn scores_are_found_bare_fenced_and_after_prose() {
        for text in [
            r#"{"scores": [1, 2.5]}"#,
            "```json\n{\"scores\": [1, 2.5]}\n```",
            "The set {1, 2} {\"a\": 1} matters. It says {\"scores\": [9]}. {\"scores\": [1, 2.5]} {",
            r#"{"result": {"scores": [1.0, 25e-1]}}"#,
            "<think>{\"scores\": [9, 9]}?</think> {\"why\": \"é }{ \\\"\", \"scores\": [1, 2.5]}",
        ] {
            assert_eq!(scores(text, 2, SCALE).unwrap(), [1.0, 2.5], "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "",
            "7",
            "[1, 2]",
            "{",
            r#"{"scores": [1, 2"#,
            r#"{"scores": "1, 2"}"#,
            r#"{"scores": [NaN, 1]}"#,
            r#"{"scores": [1e999, 1]}"#,
            r#"{"score": [1, 2]}"#,
        ] {
            let fault = scores(text, 2, SCALE).unwrap_err();
            assert_eq!(fault, Fault::NotJson { reply: text.to_owned() });
        }
        let fault = |text: &str| scores(text, 2, SCALE).unwrap_err();
        assert!(matches!(
            fault(r#"{"scores": [1, 2, 3]}"#),
            Fault::WrongCount { expected: 2, got: 3, .. }
        ));
        assert!(matches!(fault(r#"{"scores": [1, "2"]}"#), Fault::NotANumber { index: 1, .. }));
        assert!(matches!(fault(r#"{"scores": [null, 2]}"#), Fault::NotANumber { index: 0, .. }));
        for (text, wrong) in [("[10.0000001, 1]", 0), ("[1, -1e-300]", 1), ("[0, 1e300]", 1)] {
            let fault = fault(&format!("{{\"scores\": {text}}}"));
            assert!(matches!(fault, Fault::OutOfScale { index, .. } if index == wrong), "{text}");
        }
    }

    #[test]
    fn deep_and_broken_replies_end() {
        for piece in ["{", "{\"a\":", "{\"", "[{\"a\":[", "}{"] {
            assert_eq!(object_with(&piece.repeat(20_000), "scores"), None);
        }
    }
}
