//! Filters and tests of Jinja that the engine lacks or has otherwise.

use super::lazy::{Lazy, View};
use super::python::{failed, string};
use minijinja::value::{DynObject, Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

pub(super) fn add(env: &mut Environment<'static>) {
    tests(env);
    texts(env);
    lists(env);
    numbers(env);
}

fn tests(env: &mut Environment<'static>) {
    env.add_test("iterable", |value: &Value| {
        let kinds = [ValueKind::Seq, ValueKind::Map, ValueKind::String, ValueKind::Iterable];
        value.is_undefined() || kinds.contains(&value.kind())
    });
    env.add_test("sequence", |value: &Value| {
        let kinds = [ValueKind::Seq, ValueKind::Map, ValueKind::String, ValueKind::Undefined];
        kinds.contains(&value.kind())
    });
    env.add_test("callable", |value: &Value| {
        value.is_undefined() || value.kind() == ValueKind::Plain
    });
    env.add_test("mapping", |value: &Value| {
        value.kind() == ValueKind::Map && !value.as_object().is_some_and(namespace)
    });
}

fn texts(env: &mut Environment<'static>) {
    env.add_filter("wordcount", |value: &Value| -> Result<usize, Error> {
        // Words are runs of `\w`.
        let text = string(value)?;
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        Ok(words.filter(|word| !word.is_empty()).count())
    });
    env.add_filter("center", |value: &Value, width: Option<usize>, options: Kwargs| {
        let width = width.or(options.get("width")?).unwrap_or(80);
        options.assert_all_used()?;
        center(&string(value)?, width, ' ')
    });
    env.add_filter("truncate", truncate);
    env.add_filter("striptags", |value: &Value| string(value).map(|text| strip_tags(&text)));
    env.add_filter("title", |value: &Value| string(value).map(|text| title_words(&text)));
    env.add_filter("pprint", |_: &Value| -> Result<Value, Error> {
        Err(failed("`pprint` is not supported"))
    });
    env.add_filter("attr", |value: &Value, name: &str| -> Result<Value, Error> {
        match value.kind() {
            ValueKind::Plain | ValueKind::Iterable => value.get_attr(name),
            ValueKind::Undefined => Err(failed("`attr` of an undefined value")),
            _ => Err(failed("`attr` is not supported on plain values: it reads methods, not keys")),
        }
    });
}

/// Python's `str.center`.
pub(super) fn center(text: &str, width: usize, fill: char) -> Result<String, Error> {
    if width > 9999 {
        return Err(failed("a width of more than four digits"));
    }
    let missing = width.saturating_sub(text.chars().count());
    // Of an odd number of blanks the left gets one more where the width is odd.
    let left = missing / 2 + (missing & width & 1);
    let pad = |n: usize| fill.to_string().repeat(n);
    Ok(format!("{}{text}{}", pad(left), pad(missing - left)))
}

fn truncate(value: &Value, args: Rest<Value>, options: Kwargs) -> Result<String, Error> {
    let given = |i: usize, name: &str| match args.get(i) {
        Some(value) => Ok(Some(value.clone())),
        None => options.get::<Option<Value>>(name),
    };
    let number = |value: Option<Value>, other: usize| match value {
        None => Ok(other),
        Some(value) => value.as_usize().ok_or_else(|| failed("`truncate` needs whole numbers")),
    };
    let length = number(given(0, "length")?, 255)?;
    let kill = given(1, "killwords")?.is_some_and(|flag| flag.is_true());
    let end = string(&given(2, "end")?.unwrap_or_else(|| "...".into()))?;
    let leeway = number(given(3, "leeway")?, 5)?;
    options.assert_all_used()?;
    let text = string(value)?;
    let (count, tail) = (text.chars().count(), end.chars().count());
    if length < tail {
        return Err(failed("`truncate` to less than its end"));
    }
    if count <= length + leeway {
        return Ok(text);
    }
    let cut: String = text.chars().take(length - tail).collect();
    let cut = match cut.rsplit_once(' ') {
        Some((words, _)) if !kill => words.to_owned(),
        _ => cut,
    };
    Ok(cut + &end)
}

/// Text without comments and tags, with single blanks and without the escapes of HTML.
fn strip_tags(text: &str) -> String {
    let without = |text: &str, open: &str, close: &str| {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(start) = rest.find(open) {
            let Some(end) = rest[start..].find(close) else { break };
            out.push_str(&rest[..start]);
            rest = &rest[start + end + close.len()..];
        }
        out + rest
    };
    let text = without(&without(text, "<!--", "-->"), "<", ">");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", "\"")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

/// Jinja's `title`: words begin after blanks, hyphens and opening brackets.
fn title_words(text: &str) -> String {
    let mut first = true;
    let mut out = String::new();
    for c in text.chars() {
        match first {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        first = c.is_whitespace() || "-({[<".contains(c);
    }
    out
}

/// A filter that gives something that is gone through once.
fn lazily(env: &mut Environment<'static>, name: &'static str, inner: &'static str) {
    env.add_filter(
        name,
        move |state: &mut State, value: Value, args: Rest<Value>, options: Kwargs| {
            let mut all = vec![value];
            all.extend(args.iter().cloned());
            if options.args().next().is_some() {
                all.push(Value::from(options));
            }
            Lazy::of(&state.apply_filter(inner, &all)?)
        },
    );
}

fn lists(env: &mut Environment<'static>) {
    env.add_filter("__map", minijinja::filters::map);
    env.add_filter("__select", minijinja::filters::select);
    env.add_filter("__reject", minijinja::filters::reject);
    env.add_filter("__selectattr", minijinja::filters::selectattr);
    env.add_filter("__rejectattr", minijinja::filters::rejectattr);
    for (name, inner) in [
        ("map", "__map"),
        ("select", "__select"),
        ("reject", "__reject"),
        ("selectattr", "__selectattr"),
        ("rejectattr", "__rejectattr"),
    ] {
        lazily(env, name, inner);
    }
    env.add_filter("list", |value: &Value| -> Result<Value, Error> {
        let items = iterable(value)?.try_iter()?.checked();
        Ok(Value::from(items.collect::<Result<Vec<Value>, Error>>()?))
    });
    for name in ["length", "count"] {
        env.add_filter(name, |value: &Value| match value.is_undefined() {
            true => Ok(0),
            false => value.len().ok_or_else(|| failed("a value without a length")),
        });
    }
}

/// Whether an object of the engine is a namespace, which is no dict.
pub(super) fn namespace(object: &DynObject) -> bool {
    object.type_name().ends_with("Namespace")
}

/// The value, if Python could go through it.
pub(super) fn iterable(value: &Value) -> Result<&Value, Error> {
    match value.is_none() {
        true => Err(failed("None cannot be gone through")),
        false => Ok(value),
    }
}

/// What a loop goes through: of what is gone through once, a list, whose length the loop knows.
pub(super) fn looped(value: &Value) -> Result<Value, Error> {
    match iterable(value)?.downcast_object_ref::<Lazy>() {
        Some(_) => Ok(Value::from(value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?)),
        None => Ok(value.clone()),
    }
}

/// Python's `range`, with its text.
fn range(first: i64, last: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (from, to) = last.map_or((0, first), |last| (first, last));
    let text = match step {
        None | Some(1) => format!("range({from}, {to})"),
        Some(step) => format!("range({from}, {to}, {step})"),
    };
    let step = step.unwrap_or(1);
    if step == 0 || (i128::from(to) - i128::from(from)) / i128::from(step) > 100_000 {
        return Err(failed("a range with step 0 or of more than 100000 numbers"));
    }
    let (mut items, mut at) = (Vec::new(), from);
    while (step > 0 && at < to) || (step < 0 && at > to) {
        items.push(Value::from(at));
        at = at.saturating_add(step);
    }
    Ok(View::range(items, text))
}

fn numbers(env: &mut Environment<'static>) {
    env.add_function("range", range);
    env.add_filter("int", |value: &Value, args: Rest<Value>, options: Kwargs| {
        if options.has("base") || args.len() > 1 {
            return Err(failed("`int` with a base is not supported"));
        }
        let other = fallback(&args, &options, "default", Value::from(0))?;
        if value.is_undefined() {
            return Err(failed("`int` of an undefined value"));
        }
        Ok(integer(value).map_or(other, Value::from))
    });
    env.add_filter("float", |value: &Value, args: Rest<Value>, options: Kwargs| {
        let other = fallback(&args, &options, "default", Value::from(0.0))?;
        if value.is_undefined() {
            return Err(failed("`float` of an undefined value"));
        }
        let number = match value.kind() {
            ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
            ValueKind::String => value.as_str().unwrap_or_default().trim().parse().ok(),
            _ => f64::try_from(value.clone()).ok(),
        };
        Ok(number.map_or(other, Value::from))
    });
    for name in ["default", "d"] {
        env.add_filter(name, |value: Value, args: Rest<Value>, options: Kwargs| {
            let other = fallback(&args, &options, "default_value", Value::from(""))?;
            let empty = match args.get(1) {
                Some(flag) => flag.is_true(),
                None => options.get::<Option<bool>>("boolean")?.unwrap_or(false),
            };
            options.assert_all_used()?;
            let missing = value.is_undefined() || (empty && !value.is_true());
            Ok::<_, Error>(if missing { other } else { value })
        });
    }
}

/// A first argument that may be given by name, where None is a value too.
fn fallback(args: &[Value], options: &Kwargs, name: &str, other: Value) -> Result<Value, Error> {
    match (args.first(), options.has(name)) {
        (Some(value), _) => Ok(value.clone()),
        (None, true) => options.get(name),
        (None, false) => Ok(other),
    }
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
