//! Models and methods by the names that a user gives.

use anyhow::{Result, anyhow};
use hydralign::families::{Architecture, PUBLISHED, published, read_architecture};
use hydralign::memory::{Dtype, MemoryError, Method};
use std::path::Path;

/// A model with its name.
pub struct Model {
    /// Name for tables.
    pub name: String,
    /// What it is made of.
    pub architecture: Architecture,
}

/// Published models by name and the model of a `config.json`; all published ones if nothing is asked for.
///
/// # Errors
/// A name that is not known, a configuration that cannot be used.
pub fn models(names: &[String], config: Option<&Path>) -> Result<Vec<Model>> {
    let all = names.is_empty() && config.is_none();
    let names: Vec<&str> =
        if all { PUBLISHED.to_vec() } else { names.iter().map(String::as_str).collect() };
    let mut models = Vec::new();
    for name in names {
        let architecture = published(name)?;
        let known = PUBLISHED.iter().find(|known| known.eq_ignore_ascii_case(name));
        models.push(Model { name: known.unwrap_or(&name).to_string(), architecture });
    }
    if let Some(path) = config {
        models.push(Model { name: name_of(path), architecture: read_architecture(path)? });
    }
    Ok(models)
}

/// The folder that a `config.json` lies in, or the name of another file without its ending.
fn name_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|_| path.ends_with("config.json"));
    let name = match folder.unwrap_or(&path) {
        folder if folder.is_dir() => folder.file_name(),
        file => file.file_stem(),
    };
    name.map_or("config".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Methods by name, with or without `_lora`; all with names of their own if none is asked for.
///
/// # Errors
/// A name that is not known.
pub fn methods(names: &[String]) -> Result<Vec<Method>> {
    if names.is_empty() {
        return Ok(Method::all());
    }
    let by_name = |name: &String| Method::by_name(name).ok_or_else(|| unknown_method(name));
    names.iter().map(by_name).collect()
}

fn unknown_method(name: &str) -> anyhow::Error {
    let all: Vec<String> = Method::all().into_iter().map(|m| m.name).collect();
    let adapted = all.iter().map(|name| format!("{name}_lora"));
    let known: Vec<String> =
        all.iter().cloned().chain(adapted.filter(|n| Method::by_name(n).is_some())).collect();
    anyhow!("unknown method `{name}`; known are {}", known.join(", "))
}

/// A number format by its name; `option` is what errors call it.
///
/// # Errors
/// A name that is not known.
pub fn number_format(option: &str, text: &str) -> Result<Dtype> {
    text.parse().map_err(|e: MemoryError| anyhow!("{option}: {e}"))
}
