//! Values as Python writes them: `str`, `repr` and `json.dumps`.

use super::builtins::namespace;
use super::lazy::{Lazy, View};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use std::fmt::Write;

/// Lists in lists deeper than this are refused.
const DEPTH: usize = 64;

/// `str(value)`: texts as they are, undefined as nothing, everything else as [`repr`].
pub(super) fn string(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        _ => {
            let mut out = String::new();
            repr(value, &mut out, 0)?;
            Ok(out)
        }
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Seq if View::is_range(value) => {
            write!(out, "{value}").map_err(|_| failed("a value cannot be written"))?;
        }
        ValueKind::Seq if value.is_tuple() => {
            let count = value.len().unwrap_or(0);
            items(value, out, depth, ("(", if count == 1 { ",)" } else { ")" }))?;
        }
        ValueKind::Seq => items(value, out, depth, ("[", "]"))?,
        ValueKind::Map if value.as_object().is_some() => {
            let namespace = value.as_object().is_some_and(namespace);
            out.push_str(if namespace { "<Namespace {" } else { "{" });
            for (i, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                if i > 0 {
                    out.push_str(", ");
                }
                repr(&key, out, depth + 1)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out, depth + 1)?;
            }
            out.push_str(if namespace { "}>" } else { "}" });
        }
        _ if value.downcast_object_ref::<Lazy>().is_some() => {
            return Err(failed(
                "what `map` or `select` gives has no text: `list` or `join` is missing",
            ));
        }
        ValueKind::Iterable if value.downcast_object_ref::<View>().is_none() => {
            items(value, out, depth, ("[", "]"))?;
        }
        _ => write!(out, "{value}").map_err(|_| failed("a value cannot be written"))?,
    }
    Ok(())
}

fn items(
    value: &Value,
    out: &mut String,
    depth: usize,
    (open, close): (&str, &str),
) -> Result<(), Error> {
    out.push_str(open);
    for (i, item) in value.try_iter()?.checked().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        repr(&item?, out, depth + 1)?;
    }
    out.push_str(close);
    Ok(())
}

pub(super) fn failed(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > DEPTH { Err(failed("the value is nested too deeply")) } else { Ok(()) }
}

/// A number as Python prints it: the shortest digits that read back, an exponent below 1e-4 and
/// from 1e16 on, `.0` on whole floats.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(x) = f64::try_from(value.clone()) else { return value.to_string() };
    float(x)
}

fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let size = x.abs();
    if x != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{x:?}")
}

/// A text in quotes, single unless that would need escapes and double would not.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if !printable(c) => {
                let _ = match c as u32 {
                    code @ ..0x100 => write!(out, "\\x{code:02x}"),
                    code @ 0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// Whether Python writes a character as it is: not controls, formats, private ones, and blanks other
/// than the common one.
fn printable(c: char) -> bool {
    const OTHERS: [(u32, u32); 26] = [
        (0xa0, 0xa0),
        (0xad, 0xad),
        (0x600, 0x605),
        (0x61c, 0x61c),
        (0x6dd, 0x6dd),
        (0x70f, 0x70f),
        (0x890, 0x891),
        (0x8e2, 0x8e2),
        (0x1680, 0x1680),
        (0x180e, 0x180e),
        (0x2000, 0x200f),
        (0x2028, 0x202f),
        (0x205f, 0x206f),
        (0x3000, 0x3000),
        (0xe000, 0xf8ff),
        (0xfeff, 0xfeff),
        (0xfff9, 0xfffb),
        (0xfffe, 0xffff),
        (0x1_10bd, 0x1_10bd),
        (0x1_10cd, 0x1_10cd),
        (0x1_3430, 0x1_343f),
        (0x1_bca0, 0x1_bca3),
        (0x1_d173, 0x1_d17a),
        (0xe_0001, 0xe_0001),
        (0xe_0020, 0xe_007f),
        (0xf_0000, 0x10_ffff),
    ];
    let code = c as u32;
    !c.is_control() && !OTHERS.iter().any(|&(first, last)| (first..=last).contains(&code))
}

/// How `json.dumps` lays out its text.
struct Layout {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

/// The filter `tojson` of chat templates: `json.dumps` with its defaults but for `ensure_ascii`,
/// and no HTML escapes.
pub(super) fn tojson(value: &Value, ascii: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = match options.get::<Option<Value>>("indent")? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(count) if count.is_none() => None,
        Some(count) => {
            let count = count.as_usize().filter(|&n| n <= 64);
            Some(" ".repeat(count.ok_or_else(|| failed("indent must be at most 64"))?))
        }
    };
    let separators = options.get::<Option<Value>>("separators")?.filter(|s| !s.is_none());
    let (item, key) = match separators {
        Some(pair) => {
            let part = |i| string(&pair.get_item_by_index(i)?);
            (part(0)?, part(1)?)
        }
        None => ((if indent.is_some() { "," } else { ", " }).into(), ": ".into()),
    };
    let ascii = match ascii {
        Some(flag) => flag.is_true(),
        None => options.get::<Option<Value>>("ensure_ascii")?.is_some_and(|flag| flag.is_true()),
    };
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut out = String::new();
    json(value, &Layout { ascii, indent, item, key, sort }, 0, &mut out)?;
    Ok(Value::from(out))
}

fn json(value: &Value, layout: &Layout, depth: usize, out: &mut String) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => {
            let text = number(value);
            out.push_str(match text.as_str() {
                "nan" => "NaN",
                "inf" => "Infinity",
                "-inf" => "-Infinity",
                text => text,
            });
        }
        ValueKind::String => json_text(value.as_str().unwrap_or_default(), layout.ascii, out),
        ValueKind::Seq if View::is_range(value) => return Err(failed("a range has no JSON")),
        ValueKind::Seq => {
            let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
            bracket(layout, depth, ('[', ']'), items.len(), out, |i, out| {
                json(&items[i], layout, depth + 1, out)
            })?;
        }
        ValueKind::Map => {
            let keys: Result<Vec<Value>, Error> = value.try_iter()?.checked().collect();
            let mut keys = keys?;
            if layout.sort {
                keys.sort();
            }
            bracket(layout, depth, ('{', '}'), keys.len(), out, |i, out| {
                json_text(&json_key(&keys[i])?, layout.ascii, out);
                out.push_str(&layout.key);
                json(&value.get_item(&keys[i])?, layout, depth + 1, out)
            })?;
        }
        _ => return Err(failed("this value has no JSON")),
    }
    Ok(())
}

/// Keys are texts; numbers, booleans and None become texts as values do.
fn json_key(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.into(),
        _ => string(key)?,
    })
}

fn bracket(
    layout: &Layout,
    depth: usize,
    (open, close): (char, char),
    count: usize,
    out: &mut String,
    mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &layout.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    for i in 0..count {
        if i > 0 {
            out.push_str(&layout.item);
        }
        line(out, depth + 1);
        item(i, out)?;
    }
    if count > 0 {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn json_text(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) || (ascii && c == '\u{7f}') => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
