use crate::setting::{Setting, nested};
use crate::{Inputs, RunError, nearest, write_atomic};
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// The table of a configuration file that names what the run was given.
const INPUTS: &str = "inputs";
/// The key that names the program that a configuration is of.
const PROGRAM: &str = "program";
/// The key that says which variant a table is.
const KIND: &str = "kind";

/// The settings of a run and what it was given: the file `config.toml` of its folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunConfig<T> {
    /// The program that it is of, the key `program`; a file need not name it.
    pub program: Option<String>,
    /// Settings.
    pub settings: T,
    /// Model and data files, with their fingerprints: the table `inputs`.
    pub inputs: Inputs,
}

impl<T: Serialize + DeserializeOwned> RunConfig<T> {
    /// Reads a configuration file over `defaults`: a key changes its own value and no other, in nested
    /// tables too.
    ///
    /// A table with another `kind` than the default's is another variant and replaces it whole. Types that
    /// carry `#[serde(deny_unknown_fields)]` refuse misspelt keys.
    ///
    /// # Errors
    /// [`RunError::Io`] if the file cannot be read; [`RunError::Config`] with file, line, column,
    /// field and reason if it does not fit the type.
    pub fn load(path: &Path, defaults: &T) -> Result<Self, RunError> {
        let text = fs::read_to_string(path).map_err(RunError::io("read", path))?;
        let source = Source { path, text: &text };
        let syntax = |e: toml::de::Error| source.error(e.span(), String::new(), e.message());
        let spans = DeTable::parse(&text).map_err(syntax)?.into_inner();
        let table = toml::from_str(&text);
        let mut table: Table = table.map_err(|error| {
            let large = large_integer(&spans, "");
            large.map_or_else(|| syntax(error), |(span, field)| source.large(span, field))
        })?;
        let inputs = match table.remove(INPUTS) {
            Some(inputs) => source.read(&spans, Table::from_iter([(INPUTS.to_owned(), inputs)]))?,
            None => BTreeMap::<String, Inputs>::new(),
        };
        let inputs = inputs.into_values().next().unwrap_or_default();
        let program = match table.remove(PROGRAM) {
            Some(name) => source.read(&spans, Table::from_iter([(PROGRAM.to_owned(), name)]))?,
            None => BTreeMap::<String, String>::new(),
        };
        let program = program.into_values().next();
        let config_write = |reason| RunError::ConfigWrite { path: path.to_path_buf(), reason };
        let mut merged = Table::try_from(defaults).map_err(config_write)?;
        lay_over(&mut merged, table);
        Ok(Self { program, settings: source.read(&spans, merged)?, inputs })
    }

    /// The same with some settings laid over it, as a file is laid over defaults.
    ///
    /// # Errors
    /// [`RunError::SetWrong`] with field and reason for one that does not fit the type; [`RunError::SetTwice`]; as
    /// [`RunConfig::to_toml`].
    pub fn with(self, settings: &[Setting]) -> Result<Self, RunError> {
        let failed = |reason| RunError::ConfigWrite { path: "config.toml".into(), reason };
        let mut merged = Table::try_from(&self.settings).map_err(failed)?;
        lay_over(&mut merged, nested(settings)?);
        let read = serde_path_to_error::deserialize(Value::Table(merged));
        let settings = read.map_err(|error| {
            let message = with_hint(error.inner().message());
            RunError::SetWrong { field: error.path().to_string(), message }
        })?;
        Ok(Self { settings, ..self })
    }
}

impl<T> RunConfig<T> {
    /// Holds a configuration that was read from `path` against the program that is to follow it.
    ///
    /// # Errors
    /// [`RunError::AnotherProgram`] if it names another one.
    pub fn check_program(&self, path: &Path, here: &str) -> Result<(), RunError> {
        match &self.program {
            Some(there) if there != here => Err(RunError::AnotherProgram {
                path: path.to_owned(),
                there: there.clone(),
                here: here.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl<T: Serialize> RunConfig<T> {
    /// The file's text: the program, settings, defaults included, then inputs. `path` is for the error.
    ///
    /// # Errors
    /// [`RunError::TooLarge`] names an integer above that of TOML; [`RunError::ConfigWrite`] if TOML has no
    /// form for another value.
    pub fn to_toml(&self, path: &Path) -> Result<String, RunError> {
        let failed = |reason| RunError::ConfigWrite { path: path.to_path_buf(), reason };
        // Integers above i64 can be written, but not be read into a table again.
        if let Err(reason) = Table::try_from(&self.settings) {
            let settings = serde_json::to_value(&self.settings).unwrap_or_default();
            return Err(too_large(&settings, "").unwrap_or_else(|| failed(reason)));
        }
        let mut text = toml::to_string_pretty(&self.settings).map_err(failed)?;
        if let Some(name) = &self.program {
            let program = BTreeMap::from([(PROGRAM, name)]);
            text = toml::to_string_pretty(&program).map_err(failed)? + &text;
        }
        if !self.inputs.is_empty() {
            let inputs = BTreeMap::from([(INPUTS, &self.inputs)]);
            text += &format!("\n{}", toml::to_string_pretty(&inputs).map_err(failed)?);
        }
        Ok(text)
    }

    /// Holds the configuration against one that was saved: a run goes on as itself or not at all. One that names no
    /// program may be of any.
    ///
    /// # Errors
    /// [`RunError::AnotherRun`] names the keys that differ, those of inputs too; [`RunError::Io`] if there is
    /// no file; as [`RunConfig::to_toml`].
    pub fn check_same(&self, path: &Path) -> Result<(), RunError> {
        let there = fs::read_to_string(path).map_err(RunError::io("read", path))?;
        let here = self.to_toml(path)?;
        if here == there {
            return Ok(());
        }
        let table = |text: &str| toml::from_str::<Table>(text).unwrap_or_default();
        let (mut here, mut there) = (flat_settings(&table(&here)), flat_settings(&table(&there)));
        if !(here.contains_key(PROGRAM) && there.contains_key(PROGRAM)) {
            here.remove(PROGRAM);
            there.remove(PROGRAM);
        }
        let differs = |key: &&String| here.get(*key) != there.get(*key);
        let mut keys: Vec<String> =
            here.keys().chain(there.keys()).filter(differs).cloned().collect();
        keys.sort();
        keys.dedup();
        match keys.is_empty() {
            true => Ok(()), // written otherwise, and the same
            false => Err(RunError::AnotherRun { path: path.to_owned(), keys }),
        }
    }

    /// Writes the configuration that a run really uses beside its results.
    ///
    /// # Errors
    /// As [`RunConfig::to_toml`], and [`RunError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        write_atomic(path, self.to_toml(path)?.as_bytes())
    }
}

/// The values of a table that are no tables, by their dotted keys.
pub fn flat_settings(table: &Table) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let below = flat_settings(inner).into_iter();
                all.extend(below.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    all
}

/// Where an integer stands that TOML cannot hold, and its dotted key.
fn large_integer(table: &DeTable<'_>, at: &str) -> Option<(Range<usize>, String)> {
    table.iter().find_map(|(key, value)| {
        let dot = if at.is_empty() { "" } else { "." };
        let name = format!("{at}{dot}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Integer(number) => {
                let large = i64::from_str_radix(number.as_str(), number.radix()).is_err();
                large.then(|| (value.span(), name))
            }
            DeValue::Table(inner) => large_integer(inner, &name),
            _ => None,
        }
    })
}

/// The first integer that TOML cannot hold.
fn too_large(value: &serde_json::Value, at: &str) -> Option<RunError> {
    match value {
        serde_json::Value::Number(number) if number.as_u64()? > i64::MAX as u64 => {
            Some(RunError::TooLarge { field: at.to_owned(), value: number.to_string() })
        }
        serde_json::Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let dot = if at.is_empty() { "" } else { "." };
            too_large(value, &format!("{at}{dot}{name}"))
        }),
        serde_json::Value::Array(items) => items.iter().find_map(|item| too_large(item, at)),
        _ => None,
    }
}

/// Puts the values of one table over those of another.
fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) if !is_other_kind(below, &above) => {
                lay_over(below, above);
            }
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

fn is_other_kind(below: &Table, above: &Table) -> bool {
    above.get(KIND).is_some_and(|kind| below.get(KIND) != Some(kind))
}

/// A file, to say where in it something is wrong.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn read<T: DeserializeOwned>(&self, spans: &DeTable<'_>, table: Table) -> Result<T, RunError> {
        serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
            let keys: Vec<String> = error.path().iter().filter_map(key).collect();
            let field = error.path().to_string();
            // At the top level the path is a lone dot.
            let field = if field == "." { String::new() } else { field };
            let message = error.inner().message();
            self.error(span_of(spans, &keys, message), field, &with_hint(message))
        })
    }

    fn large(&self, span: Range<usize>, field: String) -> RunError {
        self.error(Some(span), field, &format!("an integer must be at most {}", i64::MAX))
    }

    fn error(&self, span: Option<Range<usize>>, field: String, message: &str) -> RunError {
        let (line, column) = position(self.text, span.map_or(0, |span| span.start));
        let (path, message) = (self.path.to_path_buf(), message.to_owned());
        RunError::Config { path, line, column, field, message }
    }
}

/// Adds to a message on an unknown name, which lists those that are known in backticks, the one that is nearest.
fn with_hint(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((name, known)) if message.starts_with("unknown ") => {
            match nearest(name, known.iter().copied()) {
                Some(meant) => format!("{message}: did you mean `{meant}`?"),
                None => message.to_owned(),
            }
        }
        _ => message.to_owned(),
    }
}

/// Line and column, from 1, at which the key of a configuration file stands; none if it has no such key.
///
/// # Errors
/// [`RunError::Io`].
pub fn position_of(path: &Path, key: &str) -> Result<Option<(usize, usize)>, RunError> {
    let text = fs::read_to_string(path).map_err(RunError::io("read", path))?;
    let Ok(spans) = DeTable::parse(&text) else { return Ok(None) };
    let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
    let there = has(spans.get_ref(), &keys);
    let span = there.then(|| span_of(spans.get_ref(), &keys, "unknown field")).flatten();
    Ok(span.map(|span| position(&text, span.start)))
}

fn has(table: &DeTable<'_>, keys: &[String]) -> bool {
    let Some((first, rest)) = keys.split_first() else { return true };
    let found = table.iter().find(|(key, _)| key.get_ref() == first.as_str());
    found.is_some_and(|(_, value)| match value.get_ref() {
        DeValue::Table(inner) => has(inner, rest),
        _ => rest.is_empty(),
    })
}

fn key(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    }
}

/// Where the last of some nested keys stands that the file has: the key itself if it is unknown, else its
/// value.
fn span_of(table: &DeTable<'_>, keys: &[String], message: &str) -> Option<Range<usize>> {
    let (first, rest) = keys.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first.as_str())?;
    match value.get_ref() {
        DeValue::Table(inner) if !rest.is_empty() => {
            Some(span_of(inner, rest, message).unwrap_or_else(|| key.span()))
        }
        _ if message.starts_with("unknown field") => Some(key.span()),
        DeValue::Table(_) => Some(key.span()),
        _ => Some(value.span()),
    }
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (line, column)
}
