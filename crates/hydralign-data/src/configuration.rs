//! Configuration files of a checkpoint folder.

use crate::DataError;
use crate::records::kind;
use hydralign_json::{NonFinite, Parsed};
use serde_json::{Map, Value};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokenizers::AddedToken;

/// A configuration file that is there, parsed.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) object: Map<String, Value>,
    /// Where numbers stand that are not finite; they are null in the object.
    non_finite: Vec<NonFinite>,
}

impl ConfigFile {
    /// Reads a file of a folder; none if it is not there.
    pub(crate) fn read(dir: &Path, name: &str) -> Result<Option<Self>, DataError> {
        let path = dir.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::Io { path, error }),
        };
        match hydralign_json::parse(&text) {
            Ok(Parsed { value: Value::Object(object), non_finite }) => {
                Ok(Some(Self { path, object, non_finite }))
            }
            Ok(other) => {
                let message = format!("expected an object, found {}", kind(&other.value));
                Err(DataError::Config { path, message })
            }
            Err(e) => Err(DataError::Config { path, message: e.to_string() }),
        }
    }

    /// A file that says nothing, in the place of one that is not there.
    pub(crate) fn empty(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(name), object: Map::new(), non_finite: Vec::new() }
    }

    /// A value, none where the file says null or nothing.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A switch, if it is set.
    pub(crate) fn switch(&self, key: &str) -> Result<Option<bool>, DataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.setting(key, format!("{}, not a boolean", kind(other)))),
        }
    }

    /// A name, if it is set.
    pub(crate) fn name(&self, key: &str) -> Result<Option<&str>, DataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name)),
            Some(other) => Err(self.setting(key, format!("{}, not a name", kind(other)))),
        }
    }

    /// Ids of tokens: a number, or a list of them. A negative id (LLaMA 1 has `-1` for pad) is no
    /// token.
    pub(crate) fn ids(&self, key: &str) -> Result<Vec<u32>, DataError> {
        let inside = |n: &&NonFinite| n.pointer.split('/').nth(1) == Some(key);
        if let Some(found) = self.non_finite.iter().find(inside) {
            return Err(self.setting(key, format!("{}, which is not a token", found.number)));
        }
        let values = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let mut ids = Vec::new();
        for value in values {
            let id = value.as_i64().ok_or_else(|| self.not_a_token(key, value))?;
            if id >= 0 {
                let id = u32::try_from(id).map_err(|_| self.not_a_token(key, value))?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }

    /// A token as a text, or as an object with `content` and how it is matched.
    pub(crate) fn token(&self, key: &str, value: &Value) -> Result<AddedToken, DataError> {
        let fields = match value {
            Value::String(text) => return Ok(AddedToken::from(text.as_str(), true)),
            Value::Object(fields) => fields,
            other => return Err(self.not_a_token(key, other)),
        };
        let content = fields.get("content").ok_or_else(|| self.not_a_token(key, value))?;
        let text = content.as_str().ok_or_else(|| self.not_a_token(key, content))?;
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
        let special = flag("special").unwrap_or(false);
        let mut token = AddedToken::from(text, special);
        token.single_word = flag("single_word").unwrap_or(false);
        token.lstrip = flag("lstrip").unwrap_or(false);
        token.rstrip = flag("rstrip").unwrap_or(false);
        token.normalized = flag("normalized").unwrap_or(!special);
        Ok(token)
    }

    pub(crate) fn setting(&self, key: &str, fault: impl Into<String>) -> DataError {
        DataError::Setting { path: self.path.clone(), key: key.to_owned(), fault: fault.into() }
    }

    pub(crate) fn not_a_token(&self, key: &str, found: &Value) -> DataError {
        DataError::NotAToken {
            path: self.path.clone(),
            key: key.to_owned(),
            found: kind(found).to_owned(),
        }
    }

    pub(crate) fn unknown(&self, key: &str, token: String) -> DataError {
        DataError::UnknownToken { path: self.path.clone(), key: key.to_owned(), token }
    }
}
