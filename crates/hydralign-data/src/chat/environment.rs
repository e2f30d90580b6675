//! The engine as chat templates expect it: Jinja's sandbox as transformers sets it up.

use super::builtins::{self, iterable, looped};
use super::methods::method_of;
use super::printf::printf;
use super::python::{failed, string, tojson};
use super::template::Limits;
use super::{marks, rewrite};
use chrono::NaiveDateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
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
    builtins::add(&mut env);
    functions(&mut env, now, marks);
    env
}

fn functions(env: &mut Environment<'static>, now: NaiveDateTime, marks: Option<[char; 2]>) {
    env.add_function("raise_exception", |args: Rest<Value>, options: Kwargs| {
        let given = options.get::<Option<Value>>("message")?;
        let message = args.first().cloned().or(given);
        let message =
            string(&message.ok_or_else(|| failed("`raise_exception` without a message"))?)?;
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err::<Value, _>(error.with_source(Raised(message)))
    });
    env.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
        let mut out = String::new();
        // The formatter reports a letter that it does not know by failing to write.
        let format = date_format(format)?;
        write!(out, "{}", now.format(&format)).map_err(|_| failed("not a format of a date"))?;
        Ok(out)
    });
    env.add_function(rewrite::ITERABLE, |value: Value| looped(&value));
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

/// A format of `strftime` as the date library reads it: no time zone, microseconds, and nothing that
/// only that library knows.
fn date_format(format: &str) -> Result<String, Error> {
    let (mut out, mut chars) = (String::new(), format.chars());
    while let Some(c) = chars.next() {
        out.push(c);
        if c != '%' {
            continue;
        }
        match chars.next() {
            Some('Z' | 'z') => drop(out.pop()),
            Some('f') => out.push_str("6f"),
            Some('-') => out.extend(['-'].into_iter().chain(chars.next())),
            Some(c) if "aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyY%".contains(c) => out.push(c),
            _ => return Err(failed("not a format of a date")),
        }
    }
    Ok(out)
}

/// Filters that differ from Python's, or that could write without bound.
fn filters(env: &mut Environment<'static>, limit: usize) {
    env.add_filter("tojson", |value: &Value, ascii: Option<Value>, options: Kwargs| {
        tojson(value, ascii, options)
    });
    env.add_filter("string", |value: &Value| string(value));
    for name in ["e", "escape"] {
        env.add_filter(name, |value: &Value| match value.is_safe() {
            true => Ok(value.clone()),
            false => string(value).map(|text| Value::from_safe_string(escape(&text))),
        });
    }
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
    env.add_filter("format", |format: &str, args: Rest<Value>| printf(format, &args));
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
pub(super) fn replace(
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

pub(super) fn join(
    value: &Value,
    glue: &str,
    attribute: Option<&str>,
    limit: usize,
) -> Result<String, Error> {
    let mut out = String::new();
    for (i, item) in iterable(value)?.try_iter()?.checked().enumerate() {
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
pub(super) fn check_widths(format: &str) -> Result<(), Error> {
    let longest = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    match longest.unwrap_or(0) > 4 || format.contains('*') {
        true => Err(failed("a width of more than four digits")),
        false => Ok(()),
    }
}
