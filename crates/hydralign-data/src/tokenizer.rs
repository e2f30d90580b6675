use crate::tokenizer_config::TokenizerConfig;
use crate::{DataError, SpecialTokens};
use hydralign_core::Fingerprint;
use hydralign_json::LfsPointer;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use tokenizers::models::ModelWrapper;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// A tokenizer and the special tokens of its checkpoint.
///
/// Departures from the tokenizer file, all for training: truncation and padding that it may
/// ask for are off (a text is never cut or filled behind the caller's back), and of the
/// special tokens that it adds to a text only those *before* the text are used (what ends a
/// text is decided where the text is: see [`crate::encode_completion`]).
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    /// The same without what it puts before a text, where it puts something there.
    continuing: Option<Tokenizer>,
    special: SpecialTokens,
    prefix: Vec<u32>,
    vocab_size: usize,
    /// Decoded texts lose the spaces before punctuation.
    clean_up: bool,
    /// Rows of the model's embedding, where a model is known.
    rows: Option<usize>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`, the configuration beside it and the special tokens from a checkpoint
    /// folder, as transformers 5.23 does.
    ///
    /// `add_bos_token` decides, where it is there, whether the tokenizer's BOS stands before a text;
    /// otherwise `tokenizer.json` does. Departures: transformers 5.23 drops this key when it finds a
    /// `tokenizer.json`, unless it is given in the call; an EOS or a BOS put before texts that no file
    /// gives an id is refused, for transformers makes one up.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::NoTokenizerFile`], [`DataError::Tokenizer`],
    /// [`DataError::Config`], [`DataError::Setting`], [`DataError::NotAToken`],
    /// [`DataError::UnknownToken`], [`DataError::NoEos`].
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let dir = dir.as_ref();
        let path = dir.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound if dir.is_dir() => missing(dir),
            _ => DataError::Io { path: path.clone(), error },
        })?;
        let fault = |message| DataError::Tokenizer { path: path.clone(), message };
        let config = TokenizerConfig::from_dir(dir)?;
        LfsPointer::refuse(&bytes).map_err(|e| fault(e.to_string()))?;
        let mut json = serde_json::from_slice(&bytes).map_err(|e| fault(e.to_string()))?;
        let bytes = match config.class.overrides(&config.file, &mut json)? {
            true => json.to_string().into_bytes(),
            false => bytes,
        };
        let mut inner = Tokenizer::from_bytes(&bytes).map_err(|e| fault(e.to_string()))?;
        config.add_to(&mut inner)?;
        inner.set_encode_special_tokens(config.split_special);
        let special = SpecialTokens::read(dir, &config, &inner)?;
        let bos = config.token("bos_token").and_then(|text| inner.token_to_id(text));
        let prefix = match config.add_bos.or(config.class.drops_post_processor().then_some(false)) {
            None => None,
            Some(false) => Some(Vec::new()),
            Some(true) => Some(Vec::from_iter(bos)),
        };
        let mut tokenizer = Self::new(inner, special)?;
        tokenizer.prefix = prefix.unwrap_or(tokenizer.prefix);
        // The library does so for all models but BPE, whose spaces are the text's.
        let bpe = matches!(tokenizer.inner.get_model(), ModelWrapper::BPE(_));
        tokenizer.clean_up = config.clean_up && !bpe;
        Ok(tokenizer)
    }

    /// A tokenizer from its parts.
    ///
    /// # Errors
    /// [`DataError::MissingEos`] if nothing ends a response, [`DataError::SpecialOutOfRange`] for an
    /// EOS, BOS or pad outside the tokenizer (stops may lie outside: embeddings have more rows),
    /// [`DataError::Text`].
    pub fn new(mut inner: Tokenizer, special: SpecialTokens) -> Result<Self, DataError> {
        if special.eos.is_empty() {
            return Err(DataError::MissingEos);
        }
        let ids = [special.end].into_iter().chain(special.bos).chain(special.pad);
        if let Some(id) = ids.into_iter().find(|&id| inner.id_to_token(id).is_none()) {
            return Err(DataError::SpecialOutOfRange { id });
        }
        inner.with_truncation(None).map_err(text_error)?;
        inner.with_padding(None);
        let prefix = prefix(&inner)?;
        let last = inner.get_vocab(true).into_values().max();
        let vocab_size = last.map_or(0, |id| id as usize + 1);
        let continuing = continuing(&inner)?;
        let (clean_up, rows) = (false, None);
        Ok(Self { inner, continuing, special, prefix, vocab_size, clean_up, rows })
    }

    /// The tokenizer of a model with so many rows of embeddings: a text with other tokens is an error.
    #[must_use]
    pub fn with_rows(self, rows: usize) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// Tokens of a text.
    ///
    /// With `add_special`, the special tokens that the tokenizer puts before a text come
    /// first, unless the text begins with them already (a rendered chat template often does;
    /// a second BOS is a known bug of several trainers, for example axolotl issue #1616).
    /// Special tokens spelt out in the text are recognised.
    ///
    /// # Errors
    /// [`DataError::Text`]; [`DataError::OutsideVocabulary`] after [`TextTokenizer::with_rows`].
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(text_error)?;
        let ids = encoding.get_ids().to_vec();
        self.check_rows(ids.iter().copied())?;
        Ok(if add_special { self.begin(ids) } else { ids })
    }

    /// Refuses tokens that the model has no embedding of.
    pub(crate) fn check_rows(&self, ids: impl IntoIterator<Item = u32>) -> Result<(), DataError> {
        let rows = self.rows.unwrap_or(usize::MAX);
        match ids.into_iter().find(|&id| id as usize >= rows) {
            Some(id) => {
                let token = self.inner.id_to_token(id).unwrap_or_default();
                Err(DataError::OutsideVocabulary { token, id, rows })
            }
            None => Ok(()),
        }
    }

    /// The tokens with those in front that begin a text, unless they are there.
    pub(crate) fn begin(&self, ids: Vec<u32>) -> Vec<u32> {
        if ids.starts_with(&self.prefix) { ids } else { [self.prefix.as_slice(), &ids].concat() }
    }

    /// Text of tokens, without the special ones if `skip_special`.
    ///
    /// Ids without a token give no text, as upstream: embeddings are often padded past the
    /// tokenizer, and a policy may sample from there.
    ///
    /// # Errors
    /// [`DataError::Text`].
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        let text = self.inner.decode(ids, skip_special).map_err(text_error)?;
        Ok(if self.clean_up { clean_up(text) } else { text })
    }

    /// What tokens add to the text of those before them, without the special ones.
    ///
    /// Decoded alone, a first token may lose the space that it begins with.
    ///
    /// # Errors
    /// [`DataError::Text`].
    pub fn decode_after(&self, before: &[u32], ids: &[u32]) -> Result<String, DataError> {
        let whole = self.decode(&[before, ids].concat(), true)?;
        match whole.strip_prefix(&self.decode(before, true)?) {
            Some(added) => Ok(added.to_owned()),
            None => self.decode(ids, true),
        }
    }

    /// A name that is the same exactly if two tokenizers make the same tokens of a text in the same
    /// way: model, added tokens, normalizer, pre-tokenizer and what they put before a text. How their
    /// files are written does not matter, nor what ends a text.
    ///
    /// # Errors
    /// [`DataError::Text`].
    pub fn fingerprint(&self) -> Result<String, DataError> {
        let mut fingerprint = Fingerprint::new("hydralign tokenizer");
        let inner = &self.inner;
        fingerprint.text(&json(inner.get_model())?);
        fingerprint.text(&json(inner.get_added_vocabulary())?);
        fingerprint.text(&json(&inner.get_normalizer())?);
        fingerprint.text(&json(&inner.get_pre_tokenizer())?);
        fingerprint.tokens(&self.prefix);
        fingerprint.text(&format!("{}", inner.get_encode_special_tokens()));
        Ok(fingerprint.finish())
    }

    /// Whether a token is one that no text is made of, such as the end of a turn.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        self.inner.id_to_token(id).is_some_and(|token| added.is_special_token(&token))
    }

    /// Tokens without those in front that begin a text.
    pub fn without_begin<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        ids.strip_prefix(self.prefix.as_slice()).unwrap_or(ids)
    }

    /// The highest id plus one: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that ends a completion.
    pub fn eos_id(&self) -> u32 {
        self.special.end
    }

    /// Tokens at which generation stops. The EOS of completions is usually one of them, but need
    /// not be.
    pub fn eos_ids(&self) -> &[u32] {
        &self.special.eos
    }

    /// The tokens that begin, end and pad a text.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The token with that exact spelling.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokenizer for the middle of a text, if it is another.
    pub(crate) fn continuing(&self) -> Option<&Tokenizer> {
        self.continuing.as_ref()
    }

    /// The tokenizer underneath.
    pub fn inner(&self) -> &Tokenizer {
        &self.inner
    }
}

/// What the tokenizer's own post-processing puts before a text.
fn prefix(tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
    let probe = tokenizer.encode("a", true).map_err(text_error)?;
    let marked = probe.get_ids().iter().zip(probe.get_special_tokens_mask());
    Ok(marked.take_while(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect())
}

fn json(part: &impl Serialize) -> Result<String, DataError> {
    serde_json::to_string(part).map_err(|e| DataError::Text { message: e.to_string() })
}

/// The tokenizer without a space, or another prefix, that its normalizer or its pre-tokenizer puts
/// before a text; none if there is no such thing.
fn continuing(tokenizer: &Tokenizer) -> Result<Option<Tokenizer>, DataError> {
    let fault = |e: serde_json::Error| DataError::Text { message: e.to_string() };
    let mut normalizer = serde_json::to_value(tokenizer.get_normalizer()).map_err(fault)?;
    let mut splitter = serde_json::to_value(tokenizer.get_pre_tokenizer()).map_err(fault)?;
    // Both are asked, whichever has one.
    if !(without_prefix(&mut normalizer) | without_prefix(&mut splitter)) {
        return Ok(None);
    }
    let mut other = tokenizer.clone();
    let normalizer: Option<NormalizerWrapper> =
        serde_json::from_value(normalizer).map_err(fault)?;
    let splitter: Option<PreTokenizerWrapper> = serde_json::from_value(splitter).map_err(fault)?;
    other.with_normalizer(normalizer).map_err(text_error)?;
    other.with_pre_tokenizer(splitter);
    Ok(Some(other))
}

/// Takes the prefix out of a part of a tokenizer and of the parts in it; whether there was one.
fn without_prefix(part: &mut Value) -> bool {
    let mut found = false;
    for list in ["normalizers", "pretokenizers"] {
        if let Some(Value::Array(parts)) = part.get_mut(list) {
            parts.retain_mut(|part| match part["type"] == "Prepend" {
                true => {
                    found = true;
                    false
                }
                false => {
                    found |= without_prefix(part);
                    true
                }
            });
        }
    }
    if part["type"] == "Prepend" {
        *part = Value::Null;
        return true;
    }
    for (key, none) in [("add_prefix_space", false.into()), ("prepend_scheme", "never".into())] {
        match part.get_mut(key) {
            Some(value) if *value != none => (*value, found) = (none, true),
            _ => {}
        }
    }
    found
}

/// What a folder without `tokenizer.json` holds instead.
fn missing(dir: &Path) -> DataError {
    const OTHERS: [&str; 8] = [
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tekken.json",
        "tiktoken.model",
        "vocab.json",
        "merges.txt",
        "vocab.txt",
    ];
    let found = OTHERS.iter().filter(|name| dir.join(name).is_file()).copied();
    DataError::NoTokenizerFile { dir: dir.to_owned(), found: found.collect() }
}

/// The clean-up of transformers, in its order.
fn clean_up(text: String) -> String {
    const RULES: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    RULES.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

fn text_error(e: tokenizers::Error) -> DataError {
    DataError::Text { message: e.to_string() }
}
