//! The tokens that Python's JSON has and JSON has not, as strings with a mark.

/// A number that JSON has no word for, as one digit behind a mark.
const NUMBERS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// The number behind a mark.
pub(crate) fn number(digit: &str) -> Option<f64> {
    digit.parse().ok().and_then(|at: usize| NUMBERS.get(at).copied())
}

/// What Python writes for a number that is not finite.
pub(crate) fn name(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

/// The text with each number that is not finite as a string that begins with the returned character,
/// which the text does not hold; nothing where there is no such number.
pub(crate) fn with_marks(text: &str) -> Option<(String, char)> {
    let mark = unused(text)?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string(rest),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        // Before a colon stands a key, which is never a number.
        let is_key = behind.trim_start().starts_with(':');
        match which(token).filter(|_| !is_key) {
            Some(digit) => {
                out.extend(['"', mark, digit, '"']);
                changed = true;
            }
            None => out.push_str(token),
        }
        rest = behind;
    }
    changed.then_some((out, mark))
}

/// A character for private use that occurs neither as itself nor as an escape.
fn unused(text: &str) -> Option<char> {
    let escapes = text.to_ascii_lowercase();
    ('\u{e000}'..='\u{f8ff}')
        .find(|c| !text.contains(*c) && !escapes.contains(&format!("\\u{:04x}", u32::from(*c))))
}

/// The bytes of the string that a text begins with, both quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a character may be part of a number or of a word.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_')
}

/// Which of [`NUMBERS`] a token is.
fn which(token: &str) -> Option<char> {
    match token {
        "NaN" => Some('0'),
        "Infinity" => Some('1'),
        "-Infinity" => Some('2'),
        _ => too_large(token),
    }
}

/// A number of JSON whose value is beyond the range of an `f64`.
fn too_large(token: &str) -> Option<char> {
    // Python keeps an integer of any length: only numbers with an exponent become infinite.
    let (mantissa, _) = token.split_once(['e', 'E'])?;
    serde_json::from_str::<serde_json::Number>(mantissa).ok()?;
    let value: f64 = token.parse().ok()?;
    value.is_infinite().then_some(if value > 0.0 { '1' } else { '2' })
}
