//! Flags that may also stand in a file: `--config FILE` of the short recipes.

use crate::note;
use crate::resume::resumed;
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use clap::parser::ValueSource;
use hydralign::runs::{Inputs, RunConfig, Schedule, Setting, nearest, position_of};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Flags that a configuration file does not hold: they say which file is read, or what is done with it.
const NOT_IN_FILES: [&str; 6] = ["config", "resume", "set", "dry_run", "help", "version"];

/// Runs a program with its flags, with those of a configuration file and of `--set` for what the command line
/// leaves open: a key is the name of a flag, and the table `inputs` gives the flags that name files. `name` is
/// the program's, which a file of another one is refused by.
///
/// # Errors
/// A file that cannot be read, or is of another program; a key that is no flag; a value that a flag does not
/// take, with the file or `--set` that it is from; one that is set and typed; what the program reports. Without
/// a file or `--set`, a value that a flag does not take ends the program.
pub fn run<A: Parser>(name: &str, program: impl FnOnce(A) -> Result<()>) -> Result<()> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let matches = A::command().ignore_errors(true).get_matches_from(&given);
    let resumed = resumed::<A>(&given)?;
    let path = resumed.as_ref().or_else(|| matches.get_one("config"));
    let set: Vec<Setting> = matches.get_many("set").into_iter().flatten().cloned().collect();
    if path.is_none() && set.is_empty() {
        return program(A::parse());
    }
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut sources = of_settings::<A>(&set, typed)?;
    if let Some(path) = path {
        let is_set = |id: &str| sources.iter().any(|source: &Source| source.key == id);
        let of_file = of_file::<A>(name, path, |id| typed(id) || is_set(id))?;
        sources.extend(of_file);
    }
    let mut all: Vec<OsString> = given.iter().take(1).cloned().collect();
    for source in &sources {
        all.extend(source.as_argument()?);
    }
    all.extend(given.into_iter().skip(1));
    match A::try_parse_from(all) {
        Err(error) if error.use_stderr() => Err(explain(&sources, unparsed(&error, path))),
        Err(error) => error.exit(), // help is no error
        Ok(args) => program(args).map_err(|error| explain(&sources, error)),
    }
}

/// What `--set` gives, checked against what was typed.
fn of_settings<A: Parser>(set: &[Setting], typed: impl Fn(&str) -> bool) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for setting in set {
        let key = setting.key.replace('-', "_");
        known::<A>(&key).map_err(|reason| anyhow!("--set {}: {reason}", setting.key))?;
        contradiction(&setting.key, &key.replace('_', "-"), typed(&key))?;
        ensure!(!sources.iter().any(|source| source.key == key), "--set {key} is given twice");
        sources.push(Source { key, value: setting.value(), file: None });
    }
    Ok(sources)
}

/// What a file of this program gives, but for what is `given` otherwise.
fn of_file<A: Parser>(
    name: &str,
    path: &Path,
    given: impl Fn(&str) -> bool,
) -> Result<Vec<Source>> {
    let config = RunConfig::load(path, &toml::Table::new())?;
    config.check_program(path, name)?;
    let all = flags_of(&config);
    all.iter().try_for_each(|(key, _)| known_in::<A>(path, key))?;
    check_inputs(path, &config.inputs, &given)?;
    let left = all.into_iter().filter(|(key, _)| !given(key));
    Ok(left.map(|(key, value)| Source { key, value, file: Some(path.to_owned()) }).collect())
}

/// Refuses what is both set and typed.
///
/// # Errors
/// Exactly then.
pub fn contradiction(key: &str, flag: &str, typed: bool) -> Result<()> {
    ensure!(!typed, "--set {key} and --{flag} are one setting: leave one of them out");
    Ok(())
}

/// Where a value comes from that nobody typed as a flag.
struct Source {
    key: String,
    value: toml::Value,
    /// None for `--set`.
    file: Option<PathBuf>,
}

impl Source {
    fn as_argument(&self) -> Result<Option<OsString>> {
        let flag = self.key.replace('_', "-");
        let text = match &self.value {
            toml::Value::Boolean(on) => return Ok(on.then(|| format!("--{flag}").into())),
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(_) | toml::Value::Float(_) => self.value.to_string(),
            other => bail!("{self}: a {} is no flag's value", other.type_str()),
        };
        Ok(Some(format!("--{flag}={text}").into()))
    }

    /// Whether an error is about this setting: it names the flag, or the key in backticks.
    fn is_named_in(&self, error: &str) -> bool {
        let flag = format!("--{}", self.key.replace('_', "-"));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
        error.split(&flag).skip(1).any(ends) || error.contains(&format!("`{}`", self.key))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, file } = self;
        match file {
            Some(path) => write!(f, "{}: `{key} = {value}`", stands_at(path, key)),
            None => write!(f, "--set {key}={value}"),
        }
    }
}

/// A file, with line and column of one of its keys if it has it; the table `inputs` is looked into too.
fn stands_at(path: &Path, key: &str) -> String {
    let keys = [key.to_owned(), format!("inputs.{key}")];
    let found = keys.iter().find_map(|key| position_of(path, key).ok().flatten());
    match found {
        Some((line, column)) => format!("{}:{line}:{column}", path.display()),
        None => path.display().to_string(),
    }
}

/// Adds to an error where the setting is from that it is about.
fn explain(sources: &[Source], error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    match sources.iter().find(|source| source.is_named_in(&text)) {
        Some(source) => error.context(source.to_string()),
        None => error,
    }
}

/// What the parser of flags says, without its manual.
fn unparsed(error: &clap::Error, path: Option<&PathBuf>) -> anyhow::Error {
    let text = error.to_string();
    let text = text.split("\n\nUsage").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text).to_owned();
    match path {
        Some(path) => anyhow!("{text}\nsome of the flags are from {}", path.display()),
        None => anyhow!(text),
    }
}

/// # Errors
/// A key that no file may hold, with those that it may.
fn known<A: Parser>(key: &str) -> Result<(), String> {
    let command = A::command();
    let ids: Vec<&str> = command.get_arguments().map(|a| a.get_id().as_str()).collect();
    let mut ids: Vec<&str> = ids.into_iter().filter(|id| !NOT_IN_FILES.contains(id)).collect();
    if ids.contains(&key) {
        return Ok(());
    }
    ids.sort_unstable();
    let meant = nearest(key, ids.iter().copied());
    let meant = meant.map_or_else(String::new, |name| format!(": did you mean `{name}`?"));
    Err(format!("unknown setting `{key}`{meant} (known: {})", ids.join(", ")))
}

fn known_in<A: Parser>(path: &Path, key: &str) -> Result<()> {
    known::<A>(key).map_err(|reason| anyhow!("{}: {reason}", stands_at(path, key)))
}

/// Names the file or the setting that a value out of range is from: `error` says in which tables the value
/// is, from the outermost, and may name it in backticks.
pub fn blame(error: anyhow::Error, path: Option<&Path>, set: &[Setting]) -> anyhow::Error {
    let mut keys: Vec<String> = error.chain().map(ToString::to_string).collect();
    let last = keys.pop().unwrap_or_default();
    let fields = last.split('`').skip(1).step_by(2).map(str::to_owned);
    let outer = keys.join(".");
    let dot = if outer.is_empty() { "" } else { "." };
    let candidates: Vec<String> =
        fields.map(|field| format!("{outer}{dot}{field}")).chain([outer.clone()]).collect();
    let below = |key: &str, whole: &str| {
        key == whole
            || key.starts_with(&format!("{whole}."))
            || whole.starts_with(&format!("{key}."))
    };
    for key in candidates.iter().filter(|key| !key.is_empty()) {
        if let Some(setting) = set.iter().find(|setting| below(&setting.key, key)) {
            return anyhow!("--set {}={}: {key}: {last}", setting.key, setting.text);
        }
        let Some(path) = path else { continue };
        if let Ok(Some((line, column))) = position_of(path, key) {
            return anyhow!("{}:{line}:{column}: {key}: {last}", path.display());
        }
    }
    error
}

fn flags_of(config: &RunConfig<toml::Table>) -> Vec<(String, toml::Value)> {
    let inputs = config.inputs.iter().map(|(name, i)| (name.clone(), i.path.clone().into()));
    config.settings.clone().into_iter().chain(inputs).collect()
}

/// Looks at the files that a configuration names, but for those that a flag was typed for, and tells of
/// those that are no longer what they were when it was saved.
///
/// # Errors
/// A file that cannot be read, with the configuration that it is from.
pub fn check_inputs(config: &Path, inputs: &Inputs, typed: impl Fn(&str) -> bool) -> Result<()> {
    for (name, input) in inputs.iter().filter(|(name, _)| !typed(name)) {
        let (path, config) = (&input.path, config.display());
        let now = crate::data::input(path).with_context(|| {
            format!(
                "`inputs.{name}` of {config} is `{path}`, sought from the folder that the program was started in: --{name} names another"
            )
        })?;
        if input.fingerprint.is_some() && now.fingerprint != input.fingerprint {
            note(&format!("{name} `{path}` has changed since {config} was saved"));
        }
    }
    Ok(())
}

/// Refuses flags that were given and would change nothing.
///
/// # Errors
/// The first of them, with what it has no effect on.
pub fn unused(flags: &[(&str, bool)], by: &str) -> Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("{flag} has no effect with {by}: leave it out"),
        None => Ok(()),
    }
}

/// Refuses a number that is not finite or below 0.
///
/// # Errors
/// Exactly then, naming the flag.
pub fn not_negative(flag: &str, value: f64) -> Result<()> {
    ensure!(
        value.is_finite() && value >= 0.0,
        "{flag} must not be negative, and finite: it is {value}"
    );
    Ok(())
}

/// Refuses a number that is not finite and above 0.
///
/// # Errors
/// Exactly then, naming the flag.
pub fn positive(flag: &str, value: f64) -> Result<()> {
    ensure!(value.is_finite() && value > 0.0, "{flag} must be above 0, and finite: it is {value}");
    Ok(())
}

/// Refuses a learning rate that could not be learnt with.
///
/// # Errors
/// A rate that is not between 0 and 1.
pub fn rate(flag: &str, value: f64) -> Result<()> {
    Schedule::constant(value).validate().with_context(|| format!("{flag} {value}"))
}

/// Refuses counts of 0.
///
/// # Errors
/// Exactly then, naming the flag.
pub fn counts(flags: &[(&str, usize)]) -> Result<()> {
    flags.iter().try_for_each(|&(flag, count)| {
        ensure!(count > 0, "{flag} must be at least 1");
        Ok(())
    })
}
