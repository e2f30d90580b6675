use crate::DataError;
use crate::configuration::ConfigFile;
use crate::tokenizer_config::TokenizerConfig;
use std::path::Path;
use tokenizers::Tokenizer;

/// Ids of the tokens that begin, end and pad a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Ends a completion: what is appended to those that are learned from.
    pub end: u32,
    /// Every token at which generation stops.
    pub eos: Vec<u32>,
    /// Begins a text, if the model has such a token.
    pub bos: Option<u32>,
    /// Fills rows, if the tokenizer has such a token. It may equal an EOS.
    pub pad: Option<u32>,
}

impl SpecialTokens {
    /// Reads them from the folder of a checkpoint, as transformers 5.23 does.
    ///
    /// Generation stops at `eos_token_id` of `generation_config.json`; without that file, at that
    /// of `config.json`. Completions end with the tokenizer's own EOS, which need not be one of
    /// those. Departures: where the files name no stop (transformers then generates up to the
    /// limit) it is the tokenizer's EOS, then `config.json`'s, and a tokenizer without EOS ends
    /// completions with the first stop. BOS and pad are the tokenizer's, then those of
    /// `generation_config.json` and `config.json`, as far as the tokenizer has them.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Config`], [`DataError::NotAToken`], [`DataError::NoEos`].
    pub(crate) fn read(
        dir: &Path,
        config: &TokenizerConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self, DataError> {
        let generation = ConfigFile::read(dir, "generation_config.json")?;
        let model = ConfigFile::read(dir, "config.json")?;
        let ids = |file: &Option<ConfigFile>, key: &str| match file {
            Some(file) => file.ids(key),
            None => Ok(Vec::new()),
        };
        let own = |key: &str| tokenizer.token_to_id(config.token(key)?);
        let (speaks, last) = match generation {
            Some(_) => (ids(&generation, "eos_token_id")?, ids(&model, "eos_token_id")?),
            None => (ids(&model, "eos_token_id")?, Vec::new()),
        };
        let end = own("eos_token");
        let mut choices = [speaks, Vec::from_iter(end), last].into_iter();
        let eos = choices.find(|ids| !ids.is_empty());
        let eos = eos.ok_or_else(|| DataError::NoEos { dir: dir.to_owned() })?;
        let first = |text: &str, id: &str| -> Result<Option<u32>, DataError> {
            let by_id = [ids(&generation, id)?, ids(&model, id)?].concat();
            let known = |id: &u32| tokenizer.id_to_token(*id).is_some();
            Ok(own(text).or_else(|| by_id.into_iter().find(known)))
        };
        Ok(Self {
            end: end.unwrap_or(eos[0]),
            bos: first("bos_token", "bos_token_id")?,
            pad: first("pad_token", "pad_token_id")?,
            eos,
        })
    }
}
