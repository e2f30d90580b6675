//! `{% generation %}` blocks: what the assistant says, marked by the template itself.

/// The function that a generation block calls with its text.
pub(super) const FUNCTION: &str = "__assistant_says";

/// Puts a call in the place of each generation block, which the engine does not know; lines and
/// whitespace control stay as they are. Tells whether there was one.
pub(super) fn replace_blocks(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut found) = (String::with_capacity(source.len()), source, false);
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |i| i + 2);
        let (tag, after) = tag.split_at(end);
        match replaced(tag) {
            Some(text) => {
                out.push_str(&text);
                found = true;
            }
            None => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    (out, found)
}

/// The new text of a tag that begins or ends a generation block.
fn replaced(tag: &str) -> Option<String> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let (open, inner) = control(inner, true);
    let (close, inner) = control(inner, false);
    let body = match inner.trim() {
        "generation" => format!("call {FUNCTION}()"),
        "endgeneration" => "endcall".to_owned(),
        _ => return None,
    };
    // Line breaks inside the tag keep the numbers of the lines below.
    let lines = "\n".repeat(inner.matches('\n').count());
    Some(format!("{{%{open} {body} {lines}{close}%}}"))
}

/// A sign of whitespace control at one side of a tag, and the rest.
fn control(inner: &str, front: bool) -> (&str, &str) {
    let sign = |c: char| c == '-' || c == '+';
    let split = match front {
        true => inner.chars().next().filter(|c| sign(*c)).map(|_| inner.split_at(1)),
        false => {
            let last = inner.chars().next_back().filter(|c| sign(*c));
            last.map(|_| inner.split_at(inner.len() - 1)).map(|(rest, c)| (c, rest))
        }
    };
    split.unwrap_or(("", inner))
}

/// Two characters that nothing in these texts contains, to stand around what is marked.
pub(super) fn unused<'a>(texts: impl Iterator<Item = &'a str>) -> Option<[char; 2]> {
    // The private planes: whole blocks of characters that no text ought to have.
    let mut used = std::collections::BTreeSet::new();
    texts.for_each(|t| used.extend(t.chars().filter(|c| *c >= '\u{F0000}')));
    let mut free = ('\u{F0000}'..='\u{FFFFD}').filter(|c| !used.contains(c));
    Some([free.next()?, free.next()?])
}

/// Takes the marks out of a text and gives the byte ranges that they stood around.
pub(super) fn take(text: &str, [open, close]: [char; 2]) -> (String, Vec<(usize, usize)>) {
    let (mut out, mut starts, mut ranges) = (String::with_capacity(text.len()), Vec::new(), vec![]);
    for c in text.chars() {
        if c == open {
            starts.push(out.len());
        } else if c == close {
            ranges.extend(starts.pop().map(|start| (start, out.len())));
        } else {
            out.push(c);
        }
    }
    (out, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_become_calls_and_nothing_else_does() {
        let source =
            "{%- generation -%}a{% endgeneration %}{% set generation = 1 %}{{ generation }}";
        let (text, found) = replace_blocks(source);
        assert!(found);
        assert_eq!(
            text,
            "{%- call __assistant_says() -%}a{% endcall %}{% set generation = 1 %}{{ generation }}"
        );
        assert_eq!(replace_blocks("{% generation"), ("{% generation".into(), false));
    }

    #[test]
    fn marks_come_out_with_the_ranges_between_them() {
        let marks = unused(["a\u{F0000}b"].into_iter()).unwrap();
        assert_eq!(marks, ['\u{F0001}', '\u{F0002}']);
        let (text, ranges) = take("x\u{F0001}é!\u{F0002}y\u{F0001}\u{F0002}", marks);
        assert_eq!((text.as_str(), ranges), ("xé!y", vec![(1, 4), (5, 5)]));
    }
}
