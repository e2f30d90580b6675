use crate::{DataError, SpecialTokens};
use std::fs;
use std::path::Path;
use tokenizers::Tokenizer;

/// A tokenizer and the special tokens of its checkpoint.
///
/// Departures from the tokenizer file, all for training: truncation and padding that it may
/// ask for are off (a text is never cut or filled behind the caller's back), and of the
/// special tokens that it adds to a text only those *before* the text are used (what ends a
/// text is decided where the text is: see [`crate::encode_completion`]).
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    special: SpecialTokens,
    prefix: Vec<u32>,
    vocab_size: usize,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` and the special tokens from a checkpoint folder.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Tokenizer`], and those of [`SpecialTokens::from_dir`].
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = dir.as_ref().join("tokenizer.json");
        let bytes = fs::read(&path).map_err(|error| DataError::Io { path: path.clone(), error })?;
        let inner = Tokenizer::from_bytes(&bytes)
            .map_err(|e| DataError::Tokenizer { path, message: e.to_string() })?;
        let special = SpecialTokens::from_dir(dir.as_ref(), &inner)?;
        Self::new(inner, special)
    }

    /// A tokenizer from its parts.
    ///
    /// # Errors
    /// [`DataError::MissingEos`], [`DataError::SpecialOutOfRange`], [`DataError::Text`].
    pub fn new(mut inner: Tokenizer, special: SpecialTokens) -> Result<Self, DataError> {
        if special.eos.is_empty() {
            return Err(DataError::MissingEos);
        }
        let ids = special.eos.iter().chain(&special.bos).chain(&special.pad);
        if let Some(&id) = ids.into_iter().find(|&&id| inner.id_to_token(id).is_none()) {
            return Err(DataError::SpecialOutOfRange { id });
        }
        inner.with_truncation(None).map_err(text_error)?;
        inner.with_padding(None);
        let prefix = prefix(&inner)?;
        let last = inner.get_vocab(true).into_values().max();
        let vocab_size = last.map_or(0, |id| id as usize + 1);
        Ok(Self { inner, special, prefix, vocab_size })
    }

    /// Tokens of a text.
    ///
    /// With `add_special`, the special tokens that the tokenizer puts before a text come
    /// first, unless the text begins with them already (a rendered chat template often does;
    /// a second BOS is a known bug of several trainers, for example axolotl issue #1616).
    /// Special tokens spelt out in the text are recognised.
    ///
    /// # Errors
    /// [`DataError::Text`].
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(text_error)?;
        let ids = encoding.get_ids().to_vec();
        Ok(if add_special { self.begin(ids) } else { ids })
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
        self.inner.decode(ids, skip_special).map_err(text_error)
    }

    /// The highest id plus one: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Tokens that end a response.
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

fn text_error(e: tokenizers::Error) -> DataError {
    DataError::Text { message: e.to_string() }
}
