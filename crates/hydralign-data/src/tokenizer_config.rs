//! What the files beside `tokenizer.json` say of a tokenizer, read as transformers reads them.

use crate::DataError;
use crate::configuration::ConfigFile;
use crate::tokenizer_class::Class;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::{AddedToken, Tokenizer};

/// Keys of the special tokens that every tokenizer may have.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The configuration of a tokenizer.
#[derive(Clone, Debug)]
pub(crate) struct TokenizerConfig {
    pub(crate) file: ConfigFile,
    pub(crate) class: Class,
    /// Special tokens with a key, in the order of the files; those of the class where the files
    /// are silent.
    named: Vec<(String, AddedToken)>,
    /// Keys that a file sets, null included.
    said: Vec<String>,
    extra: Vec<AddedToken>,
    /// Tokens that `added_tokens_decoder` or `added_tokens.json` give an id.
    added: BTreeMap<u32, AddedToken>,
    pub(crate) add_bos: Option<bool>,
    pub(crate) split_special: bool,
    pub(crate) clean_up: bool,
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json`, and where it has no `added_tokens_decoder` also
    /// `special_tokens_map.json`, which then wins, and `added_tokens.json`.
    pub(crate) fn from_dir(dir: &Path) -> Result<Self, DataError> {
        let file = ConfigFile::read(dir, "tokenizer_config.json")?;
        let mut file = file.unwrap_or_else(|| ConfigFile::empty(dir, "tokenizer_config.json"));
        let class = Class::of(&file, dir)?;
        let mut added = BTreeMap::new();
        match file.get("added_tokens_decoder") {
            Some(Value::Object(tokens)) => {
                for (id, token) in tokens {
                    let key = format!("added_tokens_decoder.{id}");
                    let id = id.parse().map_err(|_| file.setting(&key, "not an id"))?;
                    added.insert(id, file.token(&key, token)?);
                }
            }
            Some(_) => return Err(file.setting("added_tokens_decoder", "not an object")),
            None => legacy(dir, &mut file, &mut added)?,
        }
        let (named, extra) = tokens(&file)?;
        let said = file.object.keys().cloned().collect();
        let mut config = Self {
            class,
            named,
            said,
            extra,
            added,
            add_bos: file.switch("add_bos_token")?,
            split_special: file.switch("split_special_tokens")?.unwrap_or(false),
            clean_up: file.switch("clean_up_tokenization_spaces")?.unwrap_or(false),
            file,
        };
        config.check()?;
        config.defaults();
        // The order in which new ones get their ids.
        let place = |key: &str| NAMED.iter().position(|named| *named == key).unwrap_or(NAMED.len());
        config.named.sort_by_key(|(key, _)| place(key));
        Ok(config)
    }

    /// Switches that change what a text becomes and that this reader does not follow.
    fn check(&self) -> Result<(), DataError> {
        let corrupting = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
        for key in ["fix_mistral_regex", corrupting] {
            if self.file.switch(key)? == Some(true) {
                return Err(self.file.setting(key, "true, which this reader cannot follow"));
            }
        }
        // What ends a text is decided where the text is, but the key must be readable.
        self.file.switch("add_eos_token").map(drop)
    }

    /// Special tokens that the class has where the files say nothing of the key.
    fn defaults(&mut self) {
        for (key, text) in self.class.tokens() {
            if !self.said.iter().any(|said| said == key) {
                self.named.push(((*key).to_owned(), AddedToken::from(*text, true)));
            }
        }
    }

    /// The token of a key.
    pub(crate) fn token(&self, key: &str) -> Option<&str> {
        let found = self.named.iter().find(|(name, _)| name == key);
        found.map(|(_, token)| token.content.as_str())
    }

    /// Special tokens by their keys, as chat templates see them.
    pub(crate) fn variables(&self) -> Map<String, Value> {
        let pair = |(key, token): &(String, AddedToken)| {
            (key.clone(), Value::from(token.content.as_str()))
        };
        self.named.iter().map(pair).collect()
    }

    /// Adds the tokens that the tokenizer lacks, with the ids that transformers gives them: the
    /// next free ones.
    ///
    /// # Errors
    /// [`DataError::UnknownToken`] for an EOS that no file gives an id, [`DataError::Setting`] for
    /// a BOS or EOS that would get another id than its file says.
    pub(crate) fn add_to(&self, tokenizer: &mut Tokenizer) -> Result<(), DataError> {
        self.known(tokenizer, "eos_token")?;
        if self.add_bos == Some(true) {
            self.known(tokenizer, "bos_token")?;
        }
        let there: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let mut new: Vec<AddedToken> =
            self.added.values().filter(|token| !there.contains(token)).cloned().collect();
        let named = self.named.iter().map(|(_, token)| token);
        for token in named.clone().chain(&self.extra) {
            if !there.iter().chain(&new).any(|t| t.content == token.content) {
                new.push(token.clone());
            }
        }
        for token in &mut new {
            token.special |= named.clone().any(|t| t.content == token.content);
        }
        tokenizer.add_tokens(new).map_err(|e| DataError::Tokenizer {
            path: self.file.path.clone(),
            message: e.to_string(),
        })?;
        ["bos_token", "eos_token"].iter().try_for_each(|key| self.placed(tokenizer, key))
    }

    /// Refuses a token that neither the tokenizer nor a list of added tokens has: an id made up for
    /// it would belong to no trained row.
    fn known(&self, tokenizer: &Tokenizer, key: &str) -> Result<(), DataError> {
        let Some(text) = self.token(key).filter(|_| self.said.iter().any(|said| said == key))
        else {
            return Ok(());
        };
        let listed = self.added.values().any(|token| token.content == text);
        match listed || tokenizer.token_to_id(text).is_some() {
            true => Ok(()),
            false => Err(self.file.unknown(key, format!("`{text}`"))),
        }
    }

    fn placed(&self, tokenizer: &Tokenizer, key: &str) -> Result<(), DataError> {
        let Some(text) = self.token(key) else { return Ok(()) };
        let Some((&id, _)) = self.added.iter().find(|(_, token)| token.content == text) else {
            return Ok(());
        };
        match tokenizer.token_to_id(text) {
            Some(got) if got != id => {
                let fault =
                    format!("`{text}`, to which the files give id {id} and the tokenizer {got}");
                Err(self.file.setting(key, fault))
            }
            _ => Ok(()),
        }
    }
}

/// Files of older checkpoints: special tokens by key, and added tokens by text.
fn legacy(
    dir: &Path,
    file: &mut ConfigFile,
    added: &mut BTreeMap<u32, AddedToken>,
) -> Result<(), DataError> {
    if let Some(map) = ConfigFile::read(dir, "special_tokens_map.json")? {
        file.object.extend(map.object);
    }
    let Some(list) = ConfigFile::read(dir, "added_tokens.json")? else { return Ok(()) };
    let (named, extra) = tokens(file)?;
    for (text, id) in &list.object {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| list.setting(text, "not an id"))?;
        let special = named.iter().map(|(_, token)| token).chain(&extra);
        let special = special.into_iter().any(|token| token.content == *text);
        added.insert(id, AddedToken::from(text.as_str(), special));
    }
    Ok(())
}

type Tokens = (Vec<(String, AddedToken)>, Vec<AddedToken>);

/// Special tokens with a key of their own, and those of the lists.
fn tokens(file: &ConfigFile) -> Result<Tokens, DataError> {
    let mut named = Vec::new();
    for (key, value) in &file.object {
        let own = key.ends_with("_token") && (value.is_string() || value.is_object());
        if !value.is_null() && (NAMED.contains(&key.as_str()) || own) {
            named.push((key.clone(), file.token(key, value)?));
        }
    }
    let empty = |value: &&Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let keys = ["extra_special_tokens", "additional_special_tokens"];
    let list = keys.iter().find_map(|key| Some((*key, file.get(key).filter(empty)?)));
    let mut extra = Vec::new();
    match list {
        None => {}
        Some((key, Value::Array(items))) => {
            extra = items.iter().map(|item| file.token(key, item)).collect::<Result<_, _>>()?;
        }
        Some((key, Value::Object(fields))) => {
            for (name, value) in fields {
                named.push((name.clone(), file.token(&format!("{key}.{name}"), value)?));
            }
        }
        Some((key, _)) => return Err(file.setting(key, "neither a list nor an object")),
    }
    Ok((named, extra))
}
