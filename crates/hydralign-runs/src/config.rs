use crate::{RunError, write_atomic};
use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::Path;

/// Reads a configuration file.
///
/// Types that carry `#[serde(deny_unknown_fields)]` refuse misspelt keys.
///
/// # Errors
/// [`RunError::Io`] if the file cannot be read; [`RunError::Config`] with file, line, column,
/// field and reason if it does not fit the type.
pub fn load_toml<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let text = fs::read_to_string(path).map_err(RunError::io("read", path))?;
    let config_error = |field: String, error: toml::de::Error| {
        let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
        let message = error.message().to_owned();
        RunError::Config { path: path.to_path_buf(), line, column, field, message }
    };
    let parsed = toml::Deserializer::parse(&text).map_err(|e| config_error(String::new(), e))?;
    serde_path_to_error::deserialize(parsed).map_err(|error| {
        let field = error.path().to_string();
        // At the top level the path is a lone dot.
        let field = if field == "." { String::new() } else { field };
        config_error(field, error.into_inner())
    })
}

/// Writes the configuration that a run really used, defaults included, beside its results.
///
/// # Errors
/// [`RunError::ConfigWrite`] if TOML has no form for the value, [`RunError::Io`].
pub fn save_toml<T: Serialize>(path: &Path, config: &T) -> Result<(), RunError> {
    let text = toml::to_string_pretty(config)
        .map_err(|reason| RunError::ConfigWrite { path: path.to_path_buf(), reason })?;
    write_atomic(path, text.as_bytes())
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (line, column)
}
