//! What of LaTeX stands between a reader and a number.

/// Marks that are typeset and not read, and what is read in their place.
const MARKS: [(&str, &str); 7] = [
    ("{,}", ","),
    (r"\,", ""),
    (r"\!", ""),
    (r"\%", "%"),
    (r"\$", "$"),
    ("\u{2212}", "-"), // the minus sign
    ("\u{2013}", "-"), // the en dash
];

const FRACTIONS: [&str; 4] = [r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"];

/// The text with `\frac{3}{4}` as `3/4`, `1{,}000` as `1,000` and the like.
pub(crate) fn plain(text: &str) -> String {
    let marked = MARKS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    fractions(&marked)
}

fn fractions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match fraction(rest) {
            Some((numerator, denominator, after)) => {
                // `1\frac{3}{4}` is one and three quarters.
                let mixed = out.ends_with(|c: char| c.is_ascii_digit());
                out.push_str(if mixed { " " } else { "" });
                out.push_str(&format!("{numerator}/{denominator}"));
                rest = after;
            }
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Numerator, denominator and what follows, if a fraction of two plain numbers begins here.
fn fraction(text: &str) -> Option<(&str, &str, &str)> {
    let after = FRACTIONS.iter().find_map(|name| text.strip_prefix(name))?;
    let (numerator, after) = argument(after)?;
    let (denominator, after) = argument(after)?;
    Some((numerator, denominator, after))
}

/// A number in braces, or one digit.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(text.split_at(1));
    }
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let inside = inside.trim();
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-');
    (!inside.is_empty() && inside.chars().all(numeric)).then_some((inside, after))
}

/// Where the last complete `\boxed{…}` begins, and what is in it.
pub(crate) fn last_box(text: &str) -> Option<(usize, &str)> {
    let mut open = Vec::new();
    let mut last: Option<(usize, &str)> = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => open.push((at + 1, text[..at].ends_with(r"\boxed"))),
            b'}' => match open.pop() {
                Some((from, true)) if last.is_none_or(|(at, _)| from > at) => {
                    last = Some((from, &text[from..at]));
                }
                _ => {}
            },
            _ => {}
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_fractions_become_plain() {
        for (text, expected) in [
            (r"1{,}234 and 1\,234 and 1,\!234", "1,234 and 1234 and 1,234"),
            (r"\frac{3}{4} \dfrac34 \tfrac{ 10 }{ 2.5 }", "3/4 3/4 10/2.5"),
            (r"1\frac{3}{4}", "1 3/4"),
            (r"-\frac{3}{4} \frac{-3}{4}", "-3/4 -3/4"),
            (
                r"\frac{x}{2} \frac{3} \frac \fraction{1}{2}",
                r"\frac{x}{2} \frac{3} \frac \fraction{1}{2}",
            ),
            ("50\\% \\$5 \u{2212}3", "50% $5 -3"),
            ("größer als \\", "größer als \\"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn the_last_closed_box_is_found() {
        let inside = |text| last_box(text).map(|(_, inside)| inside);
        assert_eq!(inside(r"\boxed{1} or \boxed{\text{a {2}} b}"), Some(r"\text{a {2}} b"));
        assert_eq!(inside(r"{ \boxed{1} then \boxed{2"), Some("1"));
        assert_eq!(inside(r"\boxed{a \} b}"), Some(r"a \} b"));
        assert_eq!(inside(r"\boxed{\boxed{ü}}"), Some("ü"));
        assert_eq!(inside(r"boxed{1} \boxed 2 }}}"), None);
    }
}
