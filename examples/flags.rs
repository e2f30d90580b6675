//! Flags that may also stand in a file: `--config FILE` of the short recipes.

use crate::note;
use crate::resume::resumed;
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use clap::parser::ValueSource;
use hydralign::runs::{Inputs, RunConfig, Schedule};
use std::ffi::OsString;
use std::path::Path;

/// The program's flags, with those of a configuration file for what the command line leaves open: a key is
/// the name of a flag, and the table `inputs` gives the flags that name files.
///
/// # Errors
/// A file that cannot be read; a key that is no flag; a value that a flag does not take. Without a file,
/// the latter ends the program.
pub fn parse<A: Parser>() -> Result<A> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let matches = A::command().ignore_errors(true).get_matches_from(&given);
    let resumed = resumed::<A>(&given)?;
    let Some(path) = resumed.as_ref().or_else(|| matches.get_one("config")) else {
        return Ok(A::parse());
    };
    let config = RunConfig::load(path, &toml::Table::new())?;
    let known = A::command();
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut all: Vec<OsString> = given.iter().take(1).cloned().collect();
    for (key, value) in flags_of(&config) {
        let is_flag = known.get_arguments().any(|a| a.get_id() == key.as_str() && key != "config");
        ensure!(is_flag, "{}: unknown setting `{key}`", path.display());
        if !typed(&key) {
            all.extend(as_argument(path, &key, &value)?);
        }
    }
    check_inputs(path, &config.inputs, typed)?;
    all.extend(given.into_iter().skip(1));
    match A::try_parse_from(all) {
        Err(error) if error.use_stderr() => {
            bail!("{error}\nsome of the flags are from {}", path.display())
        }
        Err(error) => error.exit(), // help is no error
        Ok(args) => Ok(args),
    }
}

fn flags_of(config: &RunConfig<toml::Table>) -> Vec<(String, toml::Value)> {
    let inputs = config.inputs.iter().map(|(name, i)| (name.clone(), i.path.clone().into()));
    config.settings.clone().into_iter().chain(inputs).collect()
}

fn as_argument(path: &Path, key: &str, value: &toml::Value) -> Result<Option<OsString>> {
    let flag = key.replace('_', "-");
    let text = match value {
        toml::Value::Boolean(on) => return Ok(on.then(|| format!("--{flag}").into())),
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(_) | toml::Value::Float(_) => value.to_string(),
        _ => bail!("{}: `{key}` is no flag's value", path.display()),
    };
    Ok(Some(format!("--{flag}={text}").into()))
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
