//! Methods of Python's texts, lists and dicts: the library's, and those that it lacks or has
//! otherwise.

use super::builtins::{center, iterable, namespace};
use super::environment::{check_widths, join, replace};
use super::lazy::View;
use super::python::{failed, string};
use super::rewrite;
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, State, Value};

/// A method of a value that is no macro and no object of the engine.
pub(super) fn method_of(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
    limit: usize,
) -> Result<Value, Error> {
    if method == rewrite::SLICE {
        return slice(value, args);
    }
    if method == rewrite::ATTRIBUTE || method == rewrite::ITEM {
        return attribute(value, args, method == rewrite::ITEM);
    }
    let own = match value.kind() {
        ValueKind::String => of_text(value.as_str().unwrap_or_default(), method, args, limit)?,
        ValueKind::Map => of_dict(value, method, args)?,
        ValueKind::Seq => of_list(value, method, args)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// An attribute that some values have as a method; an item that is not there is such an attribute.
fn attribute(value: &Value, args: &[Value], item: bool) -> Result<Value, Error> {
    let key = args.first().ok_or_else(|| failed("a name is missing"))?;
    let name = key.as_str().unwrap_or_default();
    let found = match item {
        true => value.get_item(key)?,
        false => value.get_attr(name)?,
    };
    let methods: &[&str] = match value.kind() {
        ValueKind::String => &rewrite::OF_TEXTS,
        ValueKind::Seq => &rewrite::OF_LISTS,
        ValueKind::Map if !value.as_object().is_some_and(namespace) => &rewrite::OF_DICTS,
        _ => &[],
    };
    let is_item = item && !found.is_undefined();
    match methods.contains(&name) && !is_item {
        true => Err(failed("a method that is not called: as a value it is not supported")),
        false => Ok(found),
    }
}

/// Python's slices: `value[from:to:step]`.
fn slice(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let number = |i: usize| match args.get(i).filter(|v| !v.is_none()) {
        None => Ok(None),
        Some(v) if v.is_undefined() => Err(failed("a slice with an undefined end")),
        Some(v) => v.as_i64().map(Some).ok_or_else(|| failed("a slice needs whole numbers")),
    };
    let items: Vec<Value> = match value.kind() {
        ValueKind::String => {
            value.as_str().unwrap_or_default().chars().map(|c| Value::from(c.to_string())).collect()
        }
        ValueKind::Seq => value.try_iter()?.checked().collect::<Result<_, _>>()?,
        ValueKind::Iterable if value.len().is_some() => {
            value.try_iter()?.checked().collect::<Result<_, _>>()?
        }
        _ => return Err(failed("only texts and lists have slices")),
    };
    let (count, step) = (items.len() as i64, number(2)?.unwrap_or(1));
    if step == 0 {
        return Err(failed("a slice with step 0"));
    }
    let (low, high) = if step > 0 { (0, count) } else { (-1, count - 1) };
    let place = |at: Option<i64>, other: i64| match at {
        None => other,
        Some(at) if at < 0 => at.saturating_add(count).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, end) = (place(number(0)?, first), place(number(1)?, last));
    let mut taken = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        taken.push(items[at as usize].clone());
        at = at.saturating_add(step);
    }
    Ok(match value.kind() {
        ValueKind::String => {
            Value::from(taken.iter().filter_map(|c| c.as_str()).collect::<String>())
        }
        _ if value.is_tuple() => Value::from(Tuple::from(taken)),
        _ => Value::from(taken),
    })
}

fn of_dict(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let name = match method {
        "keys" => "dict_keys",
        "values" => "dict_values",
        "items" => "dict_items",
        "copy" if args.is_empty() => return Ok(Some(value.clone())),
        _ => return Ok(None),
    };
    if !args.is_empty() {
        return Err(failed("a method of dicts that takes no values"));
    }
    let mut items = Vec::new();
    for key in value.try_iter()?.checked() {
        let key = key?;
        let item = value.get_item(&key)?;
        items.push(match method {
            "keys" => key,
            "values" => item,
            _ => Value::from(Tuple::from([key, item])),
        });
    }
    View::of_dict(name, items).map(Some)
}

fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match (method, args) {
        ("copy", []) => Ok(Some(value.clone())),
        ("index", [wanted]) => {
            for (i, item) in value.try_iter()?.checked().enumerate() {
                if item? == *wanted {
                    return Ok(Some(Value::from(i)));
                }
            }
            Err(failed("value not found"))
        }
        _ => Ok(None),
    }
}

fn of_text(text: &str, method: &str, args: &[Value], limit: usize) -> Result<Option<Value>, Error> {
    let arg = |i: usize| args.get(i).and_then(Value::as_str);
    Ok(Some(match (method, arg(0)) {
        ("replace", Some(from)) => {
            let to = arg(1).ok_or_else(|| failed("replace needs two texts"))?;
            let count = args.get(2).and_then(Value::as_i64).and_then(|n| usize::try_from(n).ok());
            replace(text, from, to, count, limit)?.into()
        }
        ("format", _) => return format(text, args).map(Some),
        ("removeprefix", Some(part)) => text.strip_prefix(part).unwrap_or(text).into(),
        ("removesuffix", Some(part)) => text.strip_suffix(part).unwrap_or(text).into(),
        ("swapcase", None) => swapcase(text).into(),
        ("casefold", None) => text.to_lowercase().into(),
        ("title", None) => title(text).into(),
        ("istitle", None) => (text.chars().any(char::is_alphabetic) && title(text) == text).into(),
        ("partition" | "rpartition", Some(part)) if !part.is_empty() => {
            partition(text, part, method == "partition")
        }
        ("zfill" | "ljust" | "rjust" | "center", None) => pad(text, method, args)?.into(),
        ("index" | "rindex", Some(_)) => {
            let found = find(text, if method == "index" { "find" } else { "rfind" }, args)?;
            if found < 0 {
                return Err(failed("substring not found"));
            }
            found.into()
        }
        ("find" | "rfind", Some(_)) => find(text, method, args)?.into(),
        ("count", Some(part)) if args.len() > 1 => {
            let (window, _) = window(text, args)?;
            window.matches(part).count().into()
        }
        ("count", Some("")) => (text.chars().count() + 1).into(),
        ("startswith" | "endswith", _) => affix(text, method, args)?.into(),
        ("split" | "rsplit", _) => return split(text, method == "split", args).map(Some),
        ("splitlines", _) if args.is_empty() => split_lines(text),
        ("join", _) => {
            let items = iterable(args.first().ok_or_else(|| failed("join needs a list"))?)?;
            let items: Vec<Value> = items.try_iter()?.checked().collect::<Result<_, _>>()?;
            if items.iter().any(|item| item.as_str().is_none()) {
                return Err(failed("`join` of a text joins texts only"));
            }
            join(&Value::from(items), text, None, limit)?.into()
        }
        _ => return Ok(None),
    }))
}

/// `str.format`, for values as Python writes them.
fn format(text: &str, args: &[Value]) -> Result<Value, Error> {
    check_widths(text)?;
    let (values, named): (&[Value], Kwargs) = from_args(args)?;
    let plain = |value: &Value| match value.kind() {
        ValueKind::String | ValueKind::Number => Ok(value.clone()),
        _ if text.contains(['.', '[']) => Ok(value.clone()),
        _ => string(value).map(Value::from),
    };
    let mut all = values.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<&str> = named.args().collect();
    if !keys.is_empty() {
        let pair = |key: &str| Ok::<_, Error>((key.to_owned(), plain(&named.get::<Value>(key)?)?));
        let pairs: Vec<(String, Value)> = keys.into_iter().map(pair).collect::<Result<_, _>>()?;
        all.push(Kwargs::from_iter(pairs).into());
    }
    let style = minijinja::formatting::FormatStyle::StrFormat;
    minijinja::formatting::format(style, text, &all).map(Value::from)
}

fn swapcase(text: &str) -> String {
    let swap = |c: char| match c.is_uppercase() {
        true => c.to_lowercase().collect::<String>(),
        false => c.to_uppercase().collect(),
    };
    text.chars().map(swap).collect()
}

/// Python's `str.title`: letters after anything that is none are large.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    out
}

fn partition(text: &str, part: &str, first: bool) -> Value {
    let found = if first { text.split_once(part) } else { text.rsplit_once(part) };
    let parts = match found {
        Some((before, after)) => [before, part, after],
        None if first => [text, "", ""],
        None => ["", "", text],
    };
    Value::from(Tuple::from(parts.map(Value::from)))
}

/// `zfill`, `ljust`, `rjust` and `center`, up to a width.
fn pad(text: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let width = args.first().and_then(Value::as_usize).filter(|&w| w <= 9999);
    let width = width.ok_or_else(|| failed("a width of more than four digits"))?;
    let mut fills = args.get(1).map_or(Some(" "), Value::as_str).unwrap_or_default().chars();
    let (Some(fill), None) = (fills.next(), fills.next()) else {
        return Err(failed("a fill of one character is needed"));
    };
    let missing = width.saturating_sub(text.chars().count());
    let blanks = fill.to_string().repeat(missing);
    Ok(match method {
        "center" => center(text, width, fill)?,
        "ljust" => format!("{text}{blanks}"),
        "rjust" => format!("{blanks}{text}"),
        _ => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let sign = &text[..text.len() - digits.len()];
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    })
}

/// The part of a text between the characters that the second and third value name, and where it
/// starts.
fn window<'a>(text: &'a str, args: &[Value]) -> Result<(&'a str, i64), Error> {
    let count = text.chars().count() as i64;
    let place = |i: usize, other: i64| match args.get(i).filter(|v| !v.is_none()) {
        None => Ok::<i64, Error>(other),
        Some(v) => {
            let at = v.as_i64().ok_or_else(|| failed("a place in a text is a whole number"))?;
            Ok(if at < 0 { at.saturating_add(count).max(0) } else { at })
        }
    };
    let (from, to) = (place(1, 0)?, place(2, count)?.min(count));
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(i, _)| i);
    match from <= to {
        true => Ok((&text[byte(from)..byte(to)], from)),
        false => Err(failed("a window of a text that ends before it begins")),
    }
}

fn find(text: &str, method: &str, args: &[Value]) -> Result<i64, Error> {
    let part = args.first().and_then(Value::as_str).unwrap_or_default();
    let (window, start) = window(text, args)?;
    let at = if method == "find" { window.find(part) } else { window.rfind(part) };
    Ok(at.map_or(-1, |at| start + window[..at].chars().count() as i64))
}

fn affix(text: &str, method: &str, args: &[Value]) -> Result<bool, Error> {
    let parts = args.first().ok_or_else(|| failed("a text to look for is missing"))?;
    let parts: Vec<Value> = match parts.is_tuple() {
        true => parts.try_iter()?.checked().collect::<Result<_, _>>()?,
        false => vec![parts.clone()],
    };
    let (window, _) = window(text, args)?;
    for part in &parts {
        let part = part.as_str().ok_or_else(|| failed("a text or a tuple of texts is needed"))?;
        let found =
            if method == "startswith" { window.starts_with(part) } else { window.ends_with(part) };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `split` and `rsplit`, with their values by place or by name.
fn split(text: &str, forward: bool, args: &[Value]) -> Result<Value, Error> {
    let (sep, count, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let sep = sep.or(named.get("sep")?).filter(|v| !v.is_none());
    let count = count.or(named.get("maxsplit")?).and_then(|n| usize::try_from(n).ok());
    named.assert_all_used()?;
    let parts = count.map_or(usize::MAX, |n| n.saturating_add(1));
    let Some(sep) = sep else {
        return Ok(words(text, forward, parts).into_iter().map(Value::from).collect());
    };
    let sep = sep.as_str().filter(|sep| !sep.is_empty());
    let sep = sep.ok_or_else(|| failed("an empty separator, or one that is no text"))?;
    let mut found: Vec<&str> = match forward {
        true => text.splitn(parts, sep).collect(),
        false => text.rsplitn(parts, sep).collect(),
    };
    if !forward {
        found.reverse();
    }
    Ok(found.into_iter().map(Value::from).collect())
}

/// At most so many parts between runs of blanks.
fn words(text: &str, forward: bool, parts: usize) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        rest = if forward { rest.trim_start() } else { rest.trim_end() };
        if rest.is_empty() {
            break;
        }
        let last = found.len() + 1 >= parts;
        let cut = if forward {
            rest.find(char::is_whitespace).map(|at| rest.split_at(at))
        } else {
            let at = rest.char_indices().rev().find(|(_, c)| c.is_whitespace());
            at.map(|(at, c)| rest.split_at(at + c.len_utf8())).map(|(a, b)| (b, a))
        };
        match cut.filter(|_| !last) {
            Some((word, others)) => {
                found.push(word);
                rest = others;
            }
            None => {
                found.push(rest);
                break;
            }
        }
    }
    if !forward {
        found.reverse();
    }
    found
}

fn split_lines(text: &str) -> Value {
    let ends = |c: char| "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}".contains(c);
    let text = text.replace("\r\n", "\n");
    let mut lines: Vec<&str> = text.split(ends).collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines.into_iter().map(Value::from).collect()
}
