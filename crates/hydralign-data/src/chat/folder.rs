use super::{ChatError, ChatTemplate};
use crate::configuration::ConfigFile;
use crate::tokenizer_config::TokenizerConfig;
use hydralign_json::LfsPointer;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Templates by name, each with the file that it came from.
type Templates = BTreeMap<String, (String, PathBuf)>;

impl ChatTemplate {
    /// The template of a checkpoint folder, chosen as transformers 5.23 chooses:
    /// `chat_template.jinja` and `additional_chat_templates/*.jinja`, otherwise `chat_template` in
    /// `tokenizer_config.json`, a text or several by name. None if the folder has none.
    ///
    /// Of several the one named `default` is used, or `tool_use` where tools are given. Without
    /// a `default`, or with a source that is no Jinja, it is the rendering that fails. Departure:
    /// `chat_template.json`, which transformers reads for processors only, is the last resort.
    ///
    /// The special tokens of the tokenizer become variables of the template.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold what it should; each names the file.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, ChatError> {
        let config = TokenizerConfig::from_dir(dir)?;
        let mut templates = own_files(dir)?;
        if templates.is_none() {
            templates = of_object(&config.file)?;
        }
        if templates.is_none() {
            templates = match ConfigFile::read(dir, "chat_template.json")? {
                Some(file) => of_object(&file)?,
                None => None,
            };
        }
        Ok(templates.map(|templates| Self::of_named(templates, &config.variables())))
    }

    fn of_named(mut templates: Templates, variables: &Map<String, Value>) -> Self {
        let names: Vec<String> = templates.keys().cloned().collect();
        let path = templates.values().next().map(|(_, path)| path.display().to_string());
        let tools = templates.remove("tool_use");
        let make = |(source, path): (String, PathBuf)| {
            Self::unchecked(&source, variables.clone(), path.display().to_string())
        };
        let mut template = match templates.remove("default") {
            Some(default) => make(default),
            None => Self::absent(path.unwrap_or_default(), names),
        };
        template.with_tools = tools.map(|tools| Box::new(make(tools)));
        template
    }
}

/// `chat_template.jinja`, the default, and those of `additional_chat_templates`, which go before.
fn own_files(dir: &Path) -> Result<Option<Templates>, ChatError> {
    let mut templates = Templates::new();
    let own = dir.join("chat_template.jinja");
    if let Some(source) = read(&own)? {
        templates.insert("default".into(), (source, own));
    }
    let folder = dir.join("additional_chat_templates");
    let io = |error| ChatError::Io { template: folder.display().to_string(), error };
    if folder.is_dir() {
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(name) = name.strip_suffix(".jinja").map(str::to_owned) else { continue };
            if let Some(source) = read(&path)? {
                templates.insert(name, (source, path));
            }
        }
    }
    Ok(if templates.is_empty() { None } else { Some(templates) })
}

/// `chat_template` of a file: a text, a list of `{name, template}`, or an object of texts.
fn of_object(file: &ConfigFile) -> Result<Option<Templates>, ChatError> {
    let Some(value) = file.get("chat_template") else { return Ok(None) };
    let fault = || file.setting("chat_template", "neither a text nor texts with names");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let entry = |name: Option<String>, source: Option<&Value>| {
        Some((name?, (text(source)?, file.path.clone())))
    };
    let templates: Option<Templates> = match value {
        Value::String(_) => [entry(Some("default".into()), Some(value))].into_iter().collect(),
        Value::Array(list) => {
            list.iter().map(|t| entry(text(t.get("name")), t.get("template"))).collect()
        }
        Value::Object(fields) => {
            fields.iter().map(|(name, source)| entry(Some(name.clone()), Some(source))).collect()
        }
        _ => None,
    };
    Ok(Some(templates.ok_or_else(fault)?))
}

fn read(path: &Path) -> Result<Option<String>, ChatError> {
    let template = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => match (LfsPointer::refuse(&bytes), String::from_utf8(bytes)) {
            (Ok(()), Ok(text)) => Ok(Some(text)),
            (Err(pointer), _) => Err(ChatError::Config { template, message: pointer.to_string() }),
            (_, Err(_)) => Err(ChatError::Config { template, message: "is not UTF-8".into() }),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ChatError::Io { template, error }),
    }
}
