use super::{ChatError, ChatTemplate};
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::Path;

/// Keys of a tokenizer configuration that templates see as variables.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl ChatTemplate {
    /// The template of a checkpoint folder: `chat_template.jinja`, `chat_template.json`, or
    /// `chat_template` in `tokenizer_config.json`, in this order; of several named templates the
    /// one named `default`. None if the folder has none.
    ///
    /// The special tokens of `special_tokens_map.json` and `tokenizer_config.json` become
    /// variables of the template.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold what it should, a template that is no Jinja;
    /// each names the file.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, ChatError> {
        let config_path = dir.join("tokenizer_config.json");
        let config = read_object(&config_path)?;
        let map = read_object(&dir.join("special_tokens_map.json"))?;
        let mut variables = Map::new();
        for object in [&map, &config].into_iter().flatten() {
            variables.extend(TOKENS.iter().filter_map(|&key| {
                let value = object.get(key)?;
                let text = value.get("content").unwrap_or(value).as_str()?;
                Some((key.to_owned(), Value::from(text)))
            }));
        }
        let own = dir.join("chat_template.jinja");
        if let Some(bytes) = read(&own)? {
            let source =
                String::from_utf8(bytes).map_err(|_| config_error(&own, "is not UTF-8"))?;
            return Self::named(&source, variables, own.display().to_string()).map(Some);
        }
        for (path, object) in [(dir.join("chat_template.json"), None), (config_path, config)] {
            let object = if object.is_some() { object } else { read_object(&path)? };
            let Some(value) = object.as_ref().and_then(|o| o.get("chat_template")) else {
                continue;
            };
            if value.is_null() {
                continue;
            }
            let source = default_source(value).ok_or_else(|| {
                config_error(&path, "`chat_template` is neither a text nor a list with a `default`")
            })?;
            return Self::named(source, variables, path.display().to_string()).map(Some);
        }
        Ok(None)
    }
}

/// A text, or the template named `default` of a list.
fn default_source(value: &Value) -> Option<&str> {
    match value {
        Value::String(source) => Some(source),
        Value::Array(list) => {
            let named = |v: &&Value| v.get("name").and_then(Value::as_str) == Some("default");
            list.iter().find(named)?.get("template")?.as_str()
        }
        _ => None,
    }
}

fn config_error(path: &Path, message: impl Into<String>) -> ChatError {
    ChatError::Config { template: path.display().to_string(), message: message.into() }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ChatError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ChatError::Io { template: path.display().to_string(), error }),
    }
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, ChatError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(config_error(path, "is not an object")),
        Err(e) => Err(config_error(path, format!("not JSON: {e}"))),
    }
}
