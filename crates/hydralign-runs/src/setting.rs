use crate::RunError;
use std::str::FromStr;
use toml::{Table, Value};

/// One setting beside those of a file: `ppo.lr.peak=1e-4`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its dotted key.
    pub key: String,
    /// The text of its value.
    pub text: String,
}

impl FromStr for Setting {
    type Err = RunError;

    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// [`RunError::NoSetting`] for a text without `=`, or with an empty part of its key.
    fn from_str(text: &str) -> Result<Self, RunError> {
        let bad = || RunError::NoSetting { text: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(bad)?;
        let key = key.trim();
        match key.split('.').any(str::is_empty) {
            true => Err(bad()),
            false => Ok(Self { key: key.to_owned(), text: value.trim().to_owned() }),
        }
    }
}

impl Setting {
    /// The value: what TOML reads in the text, or the text itself, so that a bare word is a string.
    pub fn value(&self) -> Value {
        let read = toml::from_str::<Table>(&format!("value = {}", self.text)).ok();
        let alone = read.filter(|table| table.len() == 1).and_then(|mut t| t.remove("value"));
        alone.unwrap_or_else(|| Value::String(self.text.clone()))
    }
}

/// Settings as nested tables.
///
/// # Errors
/// [`RunError::SetTwice`] for a key that is given twice, by itself or as a part of another's.
pub(crate) fn nested(settings: &[Setting]) -> Result<Table, RunError> {
    let mut all = Table::new();
    for setting in settings {
        let twice = || RunError::SetTwice { key: setting.key.clone() };
        let mut parts: Vec<&str> = setting.key.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        let mut table = &mut all;
        for part in parts {
            let below = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            table = below.as_table_mut().ok_or_else(twice)?;
        }
        if table.insert(last.to_owned(), setting.value()).is_some() {
            return Err(twice());
        }
    }
    Ok(all)
}
