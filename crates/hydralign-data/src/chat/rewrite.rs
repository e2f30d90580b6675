//! Expressions that the engine has otherwise than Jinja, put as calls that this library answers:
//! slices, a unary plus, what a loop goes through, methods that are not called. What cannot be put
//! right is refused by name.

/// The method that stands for a slice.
pub(super) const SLICE: &str = "__slice";
/// The method that stands for an attribute with the name of one of Python's methods.
pub(super) const ATTRIBUTE: &str = "__attribute";
/// The method that stands for an item whose key has the name of one of Python's methods.
pub(super) const ITEM: &str = "__item";
/// The function around what a loop goes through.
pub(super) const ITERABLE: &str = "__iterable";

/// Methods of Python's texts.
pub(super) const OF_TEXTS: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
/// Methods of Python's lists.
pub(super) const OF_LISTS: [&str; 11] = [
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse",
    "sort",
];
/// Methods of Python's dicts.
pub(super) const OF_DICTS: [&str; 11] = [
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];

/// Words after which an operand follows.
const WORDS: [&str; 13] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "set",
    "recursive",
    "with",
    "call",
];
/// Tags that transformers refuses too, has otherwise or does not know.
const REFUSED: [&str; 8] =
    ["include", "import", "from", "extends", "autoescape", "trans", "do", "debug"];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Space,
    Name,
    Number,
    Text,
    Sign,
}

#[derive(Clone)]
struct Token {
    kind: Kind,
    text: String,
    /// Open brackets around it.
    depth: usize,
}

/// A fault of a template, with its line.
pub(super) type Fault = (usize, String);

/// The source as the engine is to read it. Lines stay where they are.
pub(super) fn rewrite(source: &str) -> Result<String, Fault> {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find("{").filter(|_| rest.len() > 1) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let (done, inner) = match tag.as_bytes().get(1) {
            Some(b'#') => (tag.find("#}").map_or(tag.len(), |i| i + 2), None),
            Some(b'{') => tokens(tag, "}}"),
            Some(b'%') => tokens(tag, "%}"),
            _ => (1, None),
        };
        let line = out.matches('\n').count() + 1;
        match inner {
            None => out.push_str(&tag[..done]),
            Some(found) => {
                let fault = |message| (line, message);
                let block = tag.starts_with("{%");
                out.push_str(&tag[..2]);
                found_tag(found, block, &mut out).map_err(fault)?;
                out.push_str(&tag[done - 2..done]);
            }
        }
        rest = &tag[done..];
        if is_raw(&tag[..done]) {
            let end = raw_end(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_raw(tag: &str) -> bool {
    let inner = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}"));
    inner.is_some_and(|inner| inner.trim_matches(['-', '+']).trim() == "raw")
}

/// Where the tag that ends a raw block begins.
fn raw_end(rest: &str) -> usize {
    let mut from = 0;
    while let Some(at) = rest[from..].find("{%").map(|at| at + from) {
        if rest[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
            return at;
        }
        from = at + 2;
    }
    rest.len()
}

/// The tokens of a tag and its length; none where the tag does not end.
fn tokens(tag: &str, end: &str) -> (usize, Option<Vec<Token>>) {
    let (mut at, mut depth, mut found) = (2, 0_usize, Vec::new());
    // A sign right behind the bracket is whitespace control.
    if tag[at..].starts_with(['-', '+']) {
        found.push(Token { kind: Kind::Space, text: tag[at..at + 1].into(), depth });
        at += 1;
    }
    while let Some(c) = tag[at..].chars().next() {
        let rest = &tag[at..];
        let control = rest.starts_with(['-', '+']) && rest[1..].starts_with(end);
        if depth == 0 && (rest.starts_with(end) || control) {
            if control {
                found.push(Token { kind: Kind::Space, text: rest[..1].into(), depth });
                at += 1;
            }
            return (at + 2, Some(found));
        }
        let (kind, length) = match c {
            c if c.is_whitespace() => (Kind::Space, run(rest, char::is_whitespace)),
            '\'' | '"' => (Kind::Text, text_length(rest, c)),
            c if c.is_ascii_digit() => {
                (Kind::Number, run(rest, |c| c.is_ascii_alphanumeric() || c == '_'))
            }
            c if c.is_alphabetic() || c == '_' => {
                (Kind::Name, run(rest, |c| c.is_alphanumeric() || c == '_'))
            }
            c => {
                let double =
                    ["**", "//", "==", "!=", "<=", ">="].iter().any(|s| rest.starts_with(s));
                (Kind::Sign, if double { 2 } else { c.len_utf8() })
            }
        };
        depth -= usize::from(")]}".contains(c) && depth > 0);
        let text = match kind {
            // A line that is continued inside a text.
            Kind::Text => rest[..length].replace("\\\n", ""),
            _ => rest[..length].to_owned(),
        };
        found.push(Token { kind, text, depth });
        depth += usize::from("([{".contains(c));
        at += length;
    }
    (tag.len(), None)
}

fn run(text: &str, inside: impl Fn(char) -> bool) -> usize {
    text.find(|c| !inside(c)).unwrap_or(text.len())
}

fn text_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn found_tag(mut all: Vec<Token>, block: bool, out: &mut String) -> Result<(), String> {
    let tag = all.iter().find(|t| t.kind != Kind::Space).map(|t| t.text.clone());
    let tag = tag.filter(|_| block).unwrap_or_default();
    if REFUSED.contains(&tag.as_str()) {
        return Err(format!("the tag `{tag}` is not supported"));
    }
    match tag.as_str() {
        "macro" => refuse_reading(&all, 1, "a default of a macro reads the parameter")?,
        "with" => refuse_reading(&all, 0, "a variable of `with` reads, in the same tag,")?,
        _ => {}
    }
    refuse_names(&all)?;
    signs(&mut all);
    items(&mut all);
    slices(&mut all)?;
    attributes(&mut all, &tag);
    if tag == "for" {
        goes_through(&mut all);
    }
    all.iter().for_each(|token| out.push_str(&token.text));
    Ok(())
}

fn before(all: &[Token], at: usize) -> Option<&Token> {
    all[..at].iter().rev().find(|t| t.kind != Kind::Space)
}

fn after(all: &[Token], at: usize) -> Option<&Token> {
    all[at + 1..].iter().find(|t| t.kind != Kind::Space)
}

fn is_sign(token: Option<&Token>, sign: &str) -> bool {
    token.is_some_and(|t| t.kind == Kind::Sign && t.text == sign)
}

/// Whether a value ends with this token.
fn ends_value(token: Option<&Token>) -> bool {
    token.is_some_and(|t| match t.kind {
        Kind::Name => !WORDS.contains(&t.text.as_str()),
        Kind::Sign => [")", "]", "}"].contains(&t.text.as_str()),
        Kind::Number | Kind::Text => true,
        Kind::Space => false,
    })
}

/// `+x` is `- -x`.
fn signs(all: &mut [Token]) {
    for at in 0..all.len() {
        let plus = all[at].kind == Kind::Sign && all[at].text == "+";
        if plus && !ends_value(before(all, at)) {
            all[at].text = "- -".into();
        }
    }
}

/// `x[a:b:c]` is a call of [`SLICE`].
fn slices(all: &mut [Token]) -> Result<(), String> {
    for open in 0..all.len() {
        if all[open].text != "[" || all[open].kind != Kind::Sign || !ends_value(before(all, open)) {
            continue;
        }
        let depth = all[open].depth;
        let close = (open + 1..all.len()).find(|&i| all[i].depth == depth && all[i].text == "]");
        let Some(close) = close else { continue };
        let inside = |i: &usize| all[*i].kind == Kind::Sign && all[*i].depth == depth + 1;
        let marks: Vec<usize> = (open + 1..close).filter(inside).collect();
        let colons: Vec<usize> = marks.iter().copied().filter(|&i| all[i].text == ":").collect();
        if colons.is_empty() {
            continue;
        }
        if colons.len() > 2 || marks.iter().any(|&i| all[i].text == ",") {
            return Err("this slice is not supported".into());
        }
        let mut start = open;
        for &end in colons.iter().chain([&close]) {
            if all[start + 1..end].iter().all(|t| t.kind == Kind::Space) {
                all[start].text.push_str(":none");
            }
            start = end;
        }
        for &colon in &colons {
            all[colon].text = all[colon].text.replace(":none", "none").replace(':', "");
            all[colon].text.insert_str(0, ", ");
        }
        let first = if all[open].text.ends_with("none") { "none" } else { "" };
        all[open].text = format!(".{SLICE}({first}");
        all[close].text = ")".into();
    }
    Ok(())
}

/// `x.upper` without a call is a call of [`ATTRIBUTE`], but not where it is assigned to.
fn attributes(all: &mut [Token], tag: &str) {
    let assigned = |t: &Token| t.kind == Kind::Sign && t.text == "=" && t.depth == 0;
    let from = match tag {
        "set" => all.iter().position(assigned).unwrap_or(all.len()),
        _ => 0,
    };
    for at in from..all.len() {
        let text = all[at].text.as_str();
        let dotted = is_method(text) && all[at].kind == Kind::Name && is_sign(before(all, at), ".");
        if dotted && !is_sign(after(all, at), "(") && !of_loop(all, at) {
            all[at].text = format!("{ATTRIBUTE}('{}')", all[at].text);
        }
    }
}

/// `x['items']` is a call of [`ITEM`]: where there is no such key, Jinja takes the method.
fn items(all: &mut [Token]) {
    for open in 0..all.len() {
        let [bracket, key, close] = &all[open..(open + 3).min(all.len())] else { continue };
        let name = key.text.trim_matches(['\'', '"']);
        let subscript = bracket.kind == Kind::Sign && bracket.text == "[" && close.text == "]";
        if subscript && key.kind == Kind::Text && is_method(name) && ends_value(before(all, open)) {
            all[open].text = format!(".{ITEM}(");
            all[open + 2].text = ")".into();
        }
    }
}

/// Names that the engine does not give a value.
fn refuse_names(all: &[Token]) -> Result<(), String> {
    for (at, token) in all.iter().enumerate() {
        let whole = token.kind == Kind::Name && !is_sign(before(all, at), ".");
        let lonely = token.text == "self" && !is_sign(after(all, at), ".");
        if whole && (lonely || ["varargs", "kwargs"].contains(&token.text.as_str())) {
            return Err(format!("the variable `{}` is not supported", token.text));
        }
    }
    Ok(())
}

fn is_method(name: &str) -> bool {
    OF_TEXTS.contains(&name) || OF_LISTS.contains(&name) || OF_DICTS.contains(&name)
}

fn of_loop(all: &[Token], at: usize) -> bool {
    let mut back = all[..at].iter().rev().filter(|t| t.kind != Kind::Space);
    back.nth(1).is_some_and(|t| t.kind == Kind::Name && t.text == "loop")
}

/// `for x in y` goes through `__iterable((y))`.
fn goes_through(all: &mut [Token]) {
    let word = |t: &Token, word: &str| t.kind == Kind::Name && t.text == word && t.depth == 0;
    let Some(from) = all.iter().position(|t| word(t, "in")) else { return };
    let ends = |t: &Token| word(t, "if") || word(t, "recursive");
    let end = (from + 1..all.len()).find(|&i| ends(&all[i]));
    all[from].text = format!("in {ITERABLE}((");
    match end {
        Some(end) => all[end].text.insert_str(0, ")) "),
        None => {
            let last = all.iter().rposition(|t| t.kind != Kind::Space).unwrap_or(from);
            all[last].text.push_str("))");
        }
    }
}

/// Refuses a value that reads a name which the same tag gives a value before it: the engine sees the
/// outer one, or nothing.
fn refuse_reading(all: &[Token], depth: usize, what: &str) -> Result<(), String> {
    let mut given: Vec<&str> = Vec::new();
    let mut value = false;
    for (at, token) in all.iter().enumerate() {
        let sign = token.kind == Kind::Sign && token.depth == depth;
        match token.text.as_str() {
            "=" if sign => value = true,
            "," if sign => value = false,
            name if token.kind == Kind::Name => {
                let plain = !is_sign(before(all, at), ".") && !is_sign(after(all, at), "=");
                if value && plain && given.contains(&name) {
                    return Err(format!("{what} `{name}`"));
                }
                if !value && token.depth == depth {
                    given.push(name);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_engine_has_otherwise_is_rewritten() {
        for (source, expected) in [
            ("{{ x[1:] }}{{ a[0] }}", "{{ x.__slice(1, none) }}{{ a[0] }}"),
            ("{{ x[::-1][:n+1] }}", "{{ x.__slice(none, none, -1).__slice(none, n+1) }}"),
            ("{{ [1, {'a': 2}] }} x[1:] {# y[1:] #}", "{{ [1, {'a': 2}] }} x[1:] {# y[1:] #}"),
            (
                "{{ 'a[1:]' }}{% raw %}{{ x[1:] }}{% endraw %}",
                "{{ 'a[1:]' }}{% raw %}{{ x[1:] }}{% endraw %}",
            ),
            ("{{ +x + 1 }}{%+ if a %}", "{{ - -x + 1 }}{%+ if a %}"),
            ("{% for a in b if c %}", "{% for a in __iterable(( b )) if c %}"),
            ("{%- for a, b in c -%}", "{%- for a, b in __iterable(( c)) -%}"),
            ("{{ a['items'] }}{{ ['items'] }}", "{{ a.__item('items') }}{{ ['items'] }}"),
            ("{{ a.items() }}{{ a.items }}", "{{ a.items() }}{{ a.__attribute('items') }}"),
            ("{% set ns.index = loop.index %}", "{% set ns.index = loop.index %}"),
            ("{{ {'a': {}} }}}", "{{ {'a': {}} }}}"),
            ("{{ 'open", "{{ 'open"),
        ] {
            assert_eq!(rewrite(source).unwrap(), expected, "{source}");
        }
        let fault = rewrite("\n{% with a = 1, b = a %}").unwrap_err();
        assert_eq!(fault, (2, "a variable of `with` reads, in the same tag, `a`".into()));
        assert!(rewrite("{% macro f(a, b=a) %}").is_err());
        assert!(rewrite("{% macro f(a, b=c.a) %}{% with a = 1, b = 2 %}").is_ok());
        assert!(rewrite("{% include 'x' %}").is_err());
    }
}
