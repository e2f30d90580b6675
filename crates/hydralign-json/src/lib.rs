//! JSON as Python writes it: NaN and infinities where a number may stand; and what Git leaves in the
//! place of a file that it did not fetch.

mod place;
mod pointer;
mod rewrite;

pub use place::{NonFinite, Parsed};
pub use pointer::LfsPointer;

/// Why a text is not JSON, not even as Python writes it.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Another text.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// What stands for a file that Git did not fetch.
    #[error(transparent)]
    Pointer(#[from] LfsPointer),
}

/// Reads a JSON text as Python's `json.loads` does: besides JSON, `NaN`, `Infinity`, `-Infinity` and
/// numbers too large for an `f64` may stand where a number may.
///
/// Each of these is `null` in the value and an entry of [`Parsed::non_finite`]. Of a key that occurs
/// twice in one object the last counts, as in Python.
///
/// # Errors
///
/// Any other text that is not one JSON value, with line and column (behind a number that is not
/// finite the column is that of the text with a longer or shorter token in its place). Escaped halves of
/// surrogate pairs, which Python reads and cannot encode, are refused too, and a Git LFS pointer by name.
pub fn parse(text: &str) -> Result<Parsed, JsonError> {
    LfsPointer::refuse(text.as_bytes())?;
    match serde_json::from_str(text) {
        Ok(value) => Ok(Parsed { value, non_finite: Vec::new() }),
        Err(error) => match rewrite::with_marks(text) {
            Some((text, mark)) => Ok(place::unmarked(serde_json::from_str(&text)?, mark)),
            None => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde_json::{Value, json};

    fn found(text: &str) -> Vec<(String, f64)> {
        let parsed = parse(text).unwrap();
        parsed.non_finite.into_iter().map(|n| (n.pointer, n.number)).collect()
    }

    #[test]
    fn json_is_read_as_it_is() {
        let parsed = parse(r#"{"a": [1, 1e30, 512.0, "NaN"], "b": null}"#).unwrap();
        assert_eq!(parsed.value, json!({"a": [1, 1e30, 512.0, "NaN"], "b": null}));
        assert!(parsed.non_finite.is_empty());
    }

    #[test]
    fn numbers_that_are_not_finite_are_null_and_listed() {
        let text =
            r#"{"a/b": [0, -Infinity], "c": {"~": Infinity}, "d": "Infinity, \"NaN", "e": 1e999}"#;
        let value = json!({"a/b": [0, null], "c": {"~": null}, "d": "Infinity, \"NaN", "e": null});
        assert_eq!(parse(text).unwrap().value, value);
        let expected =
            [("/a~1b/1", f64::NEG_INFINITY), ("/c/~0", f64::INFINITY), ("/e", f64::INFINITY)];
        assert_eq!(found(text), expected.map(|(p, n)| (p.to_string(), n)));
        for (pointer, _) in expected {
            assert_eq!(parse(text).unwrap().value.pointer(pointer), Some(&Value::Null));
        }
    }

    #[test]
    fn a_number_alone_and_nan() {
        let found = found("NaN");
        assert_eq!(found[0].0, "");
        assert!(found[0].1.is_nan());
        assert_eq!(parse("[-1E+999]").unwrap().non_finite[0].number, f64::NEG_INFINITY);
    }

    #[test]
    fn a_reader_of_numbers_sees_the_spelling() {
        let value = parse(r#"{"a": [-Infinity, NaN, 1], "b": 1e999}"#).unwrap().spelled();
        assert_eq!(value, json!({"a": ["-Infinity", "NaN", 1], "b": "Infinity"}));
    }

    #[test]
    fn strings_that_look_like_a_mark_stay() {
        let text = "{\"a\": NaN, \"b\": \"\u{e000}0\", \"c\": \"\\uE0010\", \"\u{e002}\": 1}";
        let parsed = parse(text).unwrap();
        let value = json!({"a": null, "b": "\u{e000}0", "c": "\u{e001}0", "\u{e002}": 1});
        assert_eq!((parsed.value, parsed.non_finite.len()), (value, 1));
    }

    #[test]
    fn of_two_equal_keys_the_last_counts() {
        let parsed = parse(r#"{"a": NaN, "a": 1, "b": 1, "b": Infinity}"#).unwrap();
        assert_eq!(parsed.value, json!({"a": 1, "b": null}));
        assert_eq!((parsed.at("/a"), parsed.at("/b")), (None, Some(f64::INFINITY)));
    }

    #[test]
    fn a_pointer_is_named() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        let error = parse(pointer).unwrap_err().to_string();
        assert_eq!(error, "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "nan",
            "-NaN",
            "+Infinity",
            "Infinity1",
            "aNaN",
            "[NaN",
            "{NaN: 1}",
            "[NaN NaN]",
            "1 2",
            "01e999",
            "1.e999",
            "\"NaN",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("{\n\"a\": NaN,\n\"b\": }").unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}
