use crate::DataError;
use crate::records::kind;
use serde_json::{Map, Value};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Files of a checkpoint that name special tokens, the one that speaks for the text first.
const FILES: [&str; 3] = ["tokenizer_config.json", "generation_config.json", "config.json"];

/// Ids of the tokens that begin, end and pad a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Every token that ends a response; the first is the one that is appended to
    /// completions.
    pub eos: Vec<u32>,
    /// Begins a text, if the model has such a token.
    pub bos: Option<u32>,
    /// Fills rows, if the model has such a token. It may equal an EOS.
    pub pad: Option<u32>,
}

impl SpecialTokens {
    /// Reads them from `tokenizer_config.json`, `generation_config.json` and `config.json`.
    ///
    /// EOS tokens are the union of the three files, for chat models name their end of turn in
    /// one and their end of text in another, and both end a response. The tokenizer's own is
    /// first. BOS and pad come from the first file that names them. A null or a negative id
    /// (LLaMA 1 has `pad_token_id: -1`) is no token.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Config`], [`DataError::NotAToken`],
    /// [`DataError::UnknownToken`], [`DataError::NoEos`].
    pub fn from_dir(dir: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let mut files = Vec::new();
        for name in FILES {
            let path = dir.join(name);
            if let Some(object) = read_object(&path)? {
                files.push(ConfigFile { path, object, tokenizer });
            }
        }
        let eos = all(&files, "eos_token")?;
        if eos.is_empty() {
            return Err(DataError::NoEos { dir: dir.to_owned() });
        }
        let first = |key| all(&files, key).map(|ids| ids.first().copied());
        Ok(Self { eos, bos: first("bos_token")?, pad: first("pad_token")? })
    }
}

/// The tokens that any file names under the key, each once, in the order of the files.
fn all(files: &[ConfigFile], key: &str) -> Result<Vec<u32>, DataError> {
    let mut ids = Vec::new();
    for file in files {
        for id in [file.by_text(key)?, file.by_id(&format!("{key}_id"))?].concat() {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

/// A file that is there, parsed; none if it is not.
fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, DataError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataError::Io { path: path.to_owned(), error }),
    };
    let config = |message| DataError::Config { path: path.to_owned(), message };
    match serde_json::from_slice(&bytes).map_err(|e| config(e.to_string()))? {
        Value::Object(object) => Ok(Some(object)),
        other => Err(config(format!("expected an object, found {}", kind(&other)))),
    }
}

struct ConfigFile<'a> {
    path: PathBuf,
    object: Map<String, Value>,
    tokenizer: &'a Tokenizer,
}

impl ConfigFile<'_> {
    /// A token given by its text, plain or as the `content` of an object.
    fn by_text(&self, key: &str) -> Result<Vec<u32>, DataError> {
        let Some(value) = self.object.get(key).filter(|v| !v.is_null()) else {
            return Ok(Vec::new());
        };
        let content = value.as_object().and_then(|o| o.get("content")).unwrap_or(value);
        let text = content.as_str().ok_or_else(|| self.not_a_token(key, content))?;
        let id = self.tokenizer.token_to_id(text);
        Ok(vec![id.ok_or_else(|| self.unknown(key, format!("`{text}`")))?])
    }

    /// A token given by its id, or several by theirs.
    fn by_id(&self, key: &str) -> Result<Vec<u32>, DataError> {
        let values = match self.object.get(key) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let mut ids = Vec::new();
        for value in values {
            let id = value.as_i64().ok_or_else(|| self.not_a_token(key, value))?;
            if id < 0 {
                continue;
            }
            let known = u32::try_from(id).ok().filter(|&i| self.tokenizer.id_to_token(i).is_some());
            ids.push(known.ok_or_else(|| self.unknown(key, id.to_string()))?);
        }
        Ok(ids)
    }

    fn not_a_token(&self, key: &str, found: &Value) -> DataError {
        DataError::NotAToken {
            path: self.path.clone(),
            key: key.to_owned(),
            found: kind(found).to_owned(),
        }
    }

    fn unknown(&self, key: &str, token: String) -> DataError {
        DataError::UnknownToken { path: self.path.clone(), key: key.to_owned(), token }
    }
}
