//! The engine as chat templates expect it: Jinja's sandbox as transformers sets it up.

use super::marks;
use super::python::{string, tojson};
use super::template::Limits;
use chrono::NaiveDateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Marks the errors that a template raises itself.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Marks the error of a template that writes more than it may.
#[derive(Debug)]
pub(super) struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("writes more than it may")
    }
}

impl std::error::Error for TooLong {}

fn too_long() -> Error {
    Error::new(ErrorKind::WriteFailure, "output limit").with_source(TooLong)
}

fn failed(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// An environment for one rendering.
pub(super) fn environment(
    limits: &Limits,
    now: NaiveDateTime,
    marks: Option<[char; 2]>,
) -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    // Only delimiters can be wrong, and these are the standard ones.
    env.set_syntax(syntax.unwrap_or_default());
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_fuel(Some(limits.fuel));
    env.set_recursion_limit(limits.recursion);
    let limit = limits.output;
    let written = Arc::new(AtomicUsize::new(0));
    // Everything that is written passes here, captured blocks included.
    env.set_formatter(move |out, _, value| {
        let text = string(value)?;
        if written.fetch_add(text.len(), Ordering::Relaxed) + text.len() > limit {
            return Err(too_long());
        }
        out.write_str(&text).map_err(Error::from)
    });
    env.set_unknown_method_callback(move |state, value, method, args| {
        method_of(state, value, method, args, limit)
    });
    filters(&mut env, limit);
    functions(&mut env, now, marks);
    env
}

fn functions(env: &mut Environment<'static>, now: NaiveDateTime, marks: Option<[char; 2]>) {
    env.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        let message = string(&message)?;
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    env.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
        let mut out = String::new();
        // The formatter reports a letter that it does not know by failing to write.
        write!(out, "{}", now.format(format)).map_err(|_| failed("not a format of a date"))?;
        Ok(out)
    });
    env.add_function(
        marks::FUNCTION,
        move |state: &mut State, options: Kwargs| -> Result<Value, Error> {
            let caller: Value = options.get("caller")?;
            let text = string(&caller.call(state, &[])?)?;
            Ok(Value::from(match marks {
                Some([open, close]) => format!("{open}{text}{close}"),
                None => text,
            }))
        },
    );
}

/// Filters that differ from Python's, or that could write without bound.
fn filters(env: &mut Environment<'static>, limit: usize) {
    env.add_filter("tojson", |value: &Value, ascii: Option<bool>, options: Kwargs| {
        tojson(value, ascii, options)
    });
    env.add_filter("string", |value: &Value| string(value));
    for name in ["default", "d"] {
        env.add_filter(name, default);
    }
    env.add_filter("int", |value: &Value, other: Option<Value>| {
        integer(value).map(Value::from).or(other).unwrap_or_else(|| Value::from(0))
    });
    env.add_filter("float", |value: &Value, other: Option<Value>| {
        let text = || value.as_str()?.trim().parse().ok();
        let number = f64::try_from(value.clone()).ok().or_else(text);
        number.map(Value::from).or(other).unwrap_or_else(|| Value::from(0.0))
    });
    for name in ["e", "escape"] {
        env.add_filter(name, |value: &Value| string(value).map(|text| escape(&text)));
    }
    env.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    env.add_filter("trim", |value: &Value, chars: Option<&str>| -> Result<String, Error> {
        let text = string(value)?;
        Ok(match chars {
            Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
            None => text.trim().to_owned(),
        })
    });
    env.add_filter(
        "replace",
        move |value: &Value, from: &Value, to: &Value, count: Option<usize>| {
            replace(&string(value)?, &string(from)?, &string(to)?, count, limit)
        },
    );
    env.add_filter("join", move |value: &Value, glue: Option<&Value>, options: Kwargs| {
        let glue = glue.map(string).transpose()?.unwrap_or_default();
        let attribute: Option<String> = options.get("attribute")?;
        options.assert_all_used()?;
        join(value, &glue, attribute.as_deref(), limit)
    });
    env.add_filter(
        "indent",
        |value: &Value, width: Option<usize>, first: Option<bool>, options: Kwargs| {
            let width = width.or(options.get("width")?).unwrap_or(4);
            let first = first.or(options.get("first")?).unwrap_or(false);
            let blank = options.get::<Option<bool>>("blank")?.unwrap_or(false);
            options.assert_all_used()?;
            indent(&string(value)?, width, first, blank)
        },
    );
    env.add_filter("format", |format: &str, args: Rest<Value>| -> Result<String, Error> {
        check_widths(format)?;
        minijinja::formatting::format(minijinja::formatting::FormatStyle::Printf, format, &args)
    });
}

/// Jinja's `default`: another value for undefined and, if asked for, for whatever is empty.
fn default(
    value: Value,
    other: Option<Value>,
    empty: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let empty = empty.or(options.get("boolean")?).unwrap_or(false);
    let other = other.or(options.get("default_value")?).unwrap_or_else(|| Value::from(""));
    options.assert_all_used()?;
    let missing = value.is_undefined() || (empty && !value.is_true());
    Ok(if missing { other } else { value })
}

/// What Jinja's `int` makes of a value.
fn integer(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        let text = text.trim();
        return text.parse().ok().or_else(|| Some(text.parse::<f64>().ok()?.trunc() as i64));
    }
    match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number => {
            value.as_i64().or_else(|| Some(f64::try_from(value.clone()).ok()?.trunc() as i64))
        }
        _ => None,
    }
}

/// Escapes of HTML, spelt as markupsafe spells them.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Python's `str.replace`, up to a limit on the result.
fn replace(
    text: &str,
    from: &str,
    to: &str,
    count: Option<usize>,
    limit: usize,
) -> Result<String, Error> {
    let count = count.unwrap_or(usize::MAX);
    let hits = text.matches(from).take(count).count();
    if hits.saturating_mul(to.len()) > limit {
        return Err(too_long());
    }
    Ok(text.replacen(from, to, count))
}

fn join(value: &Value, glue: &str, attribute: Option<&str>, limit: usize) -> Result<String, Error> {
    let mut out = String::new();
    for (i, item) in value.try_iter()?.checked().enumerate() {
        let item = item?;
        if i > 0 {
            out.push_str(glue);
        }
        out.push_str(&match attribute {
            Some(name) => string(&item.get_attr(name)?)?,
            None => string(&item)?,
        });
        if out.len() > limit {
            return Err(too_long());
        }
    }
    Ok(out)
}

/// Jinja's `indent`: every line but the first, blank ones only if asked for.
fn indent(text: &str, width: usize, first: bool, blank: bool) -> Result<String, Error> {
    if width > 256 {
        return Err(failed("an indent of more than 256"));
    }
    let pad = " ".repeat(width);
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let padded = if i == 0 { first } else { blank || !line.is_empty() };
        if padded {
            out.push_str(&pad);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A width or precision of more than four digits would write more than any template needs.
fn check_widths(format: &str) -> Result<(), Error> {
    let longest = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    match longest.unwrap_or(0) > 4 || format.contains('*') {
        true => Err(failed("a width of more than four digits")),
        false => Ok(()),
    }
}

fn swapcase(text: &str) -> String {
    let swap = |c: char| match c.is_uppercase() {
        true => c.to_lowercase().collect::<String>(),
        false => c.to_uppercase().collect(),
    };
    text.chars().map(swap).collect()
}

/// `zfill`, `ljust` and `rjust` with blanks, up to a width.
fn pad(text: &str, method: &str, width: &Value) -> Result<String, Error> {
    let width = width.as_usize().filter(|&w| w <= 9999);
    let width = width.ok_or_else(|| failed("a width of more than four digits"))?;
    let missing = width.saturating_sub(text.chars().count());
    Ok(match method {
        "ljust" => format!("{text}{}", " ".repeat(missing)),
        "rjust" => format!("{}{text}", " ".repeat(missing)),
        _ => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let sign = &text[..text.len() - digits.len()];
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    })
}

/// Methods of Python's texts, lists and dicts: the library's, and those that it lacks.
fn method_of(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
    limit: usize,
) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        let text = value.as_str().unwrap_or_default();
        let arg = |i: usize| args.get(i).and_then(Value::as_str);
        match (method, arg(0)) {
            ("replace", Some(from)) => {
                let to = arg(1).ok_or_else(|| failed("replace needs two texts"))?;
                let count =
                    args.get(2).and_then(Value::as_i64).and_then(|n| usize::try_from(n).ok());
                return replace(text, from, to, count, limit).map(Value::from);
            }
            ("format", _) => check_widths(text)?,
            ("removeprefix", Some(part)) => {
                return Ok(Value::from(text.strip_prefix(part).unwrap_or(text)));
            }
            ("removesuffix", Some(part)) => {
                return Ok(Value::from(text.strip_suffix(part).unwrap_or(text)));
            }
            ("swapcase", None) => return Ok(Value::from(swapcase(text))),
            ("casefold", None) => return Ok(Value::from(text.to_lowercase())),
            ("partition", Some(part)) if !part.is_empty() => {
                let found = text.split_once(part).map(|(a, b)| [a, part, b]);
                let parts = found.unwrap_or([text, "", ""]).map(Value::from);
                return Ok(Value::from(Tuple::from(parts)));
            }
            ("zfill" | "ljust" | "rjust", None) if args.len() == 1 => {
                return pad(text, method, &args[0]).map(Value::from);
            }
            ("index", Some(part)) => {
                let at = text.find(part).ok_or_else(|| failed("substring not found"))?;
                return Ok(Value::from(text[..at].chars().count()));
            }
            ("rsplit", Some(part)) if args.len() == 2 && !part.is_empty() => {
                let count = args[1].as_usize().ok_or_else(|| failed("rsplit needs a number"))?;
                let mut parts: Vec<&str> = text.rsplitn(count.saturating_add(1), part).collect();
                parts.reverse();
                return Ok(parts.into_iter().map(Value::from).collect());
            }
            ("join", _) => {
                let items = args.first().ok_or_else(|| failed("join needs a list"))?;
                return join(items, text, None, limit).map(Value::from);
            }
            _ => {}
        }
    }
    if value.kind() == ValueKind::Seq && method == "index" {
        let wanted = args.first().ok_or_else(|| failed("index needs a value"))?;
        for (i, item) in value.try_iter()?.checked().enumerate() {
            if item? == *wanted {
                return Ok(Value::from(i));
            }
        }
        return Err(failed("value not found"));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}
