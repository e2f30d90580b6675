//! A value and the numbers that it cannot hold.

use crate::rewrite::{name, number};
use serde_json::Value;

/// A number that a [`Value`] cannot hold, and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// Its place as a JSON pointer (RFC 6901), such as `/rows/3`.
    pub pointer: String,
    /// NaN or an infinity.
    pub number: f64,
}

/// A JSON text that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The value, with `null` for each number that is not finite.
    pub value: Value,
    /// These numbers, in the order of the text.
    pub non_finite: Vec<NonFinite>,
}

impl Parsed {
    /// The number at a place (a JSON pointer) if it is one that is not finite.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<f64> {
        self.non_finite.iter().find(|n| n.pointer == pointer).map(|n| n.number)
    }
}

impl Parsed {
    /// The value with each number that is not finite as the string that Python writes for it, for
    /// readers that ask for a number and name what they find instead.
    #[must_use]
    pub fn spelled(mut self) -> Value {
        for NonFinite { pointer, number } in self.non_finite {
            if let Some(place) = self.value.pointer_mut(&pointer) {
                *place = name(number).into();
            }
        }
        self.value
    }
}

/// The value without its marks, and what they stood for.
pub(crate) fn unmarked(mut value: Value, mark: char) -> Parsed {
    let mut non_finite = Vec::new();
    collect(&mut value, mark, &mut String::new(), &mut non_finite);
    Parsed { value, non_finite }
}

fn collect(value: &mut Value, mark: char, pointer: &mut String, found: &mut Vec<NonFinite>) {
    let length = pointer.len();
    match value {
        Value::String(text) => {
            if let Some(number) = text.strip_prefix(mark).and_then(number) {
                found.push(NonFinite { pointer: pointer.clone(), number });
                *value = Value::Null;
            }
        }
        Value::Array(entries) => {
            for (at, entry) in entries.iter_mut().enumerate() {
                *pointer += &format!("/{at}");
                collect(entry, mark, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Object(entries) => {
            for (key, entry) in entries.iter_mut() {
                *pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
                collect(entry, mark, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
