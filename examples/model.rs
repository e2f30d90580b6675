//! A model folder as its user gives it: weights, an adapter beside it, a tokenizer if there is one.

use anyhow::Result;
use hydralign::data::TextTokenizer;
use hydralign::models::{ModelBank, load_adapter};
use hydralign::prelude::*;
use std::path::{Path, PathBuf};

/// A model that reads and generates.
#[derive(Debug)]
pub struct Model {
    /// The weights: an actor and, with a reward head, a reward model.
    pub bank: ModelBank,
    dir: PathBuf,
    tokenizer: Option<TextTokenizer>,
}

impl Model {
    /// Opens a Hugging Face folder and, if given, a PEFT folder on top of it.
    ///
    /// # Errors
    /// Files that are missing or wrong, each named.
    pub fn open(dir: &Path, adapter: Option<&Path>, device: &Device) -> Result<Self> {
        let mut checkpoint = load_checkpoint(dir, device)?;
        if let Some(path) = adapter {
            let (adapter, head) = load_adapter(path, checkpoint.trunk.architecture(), device)?;
            checkpoint.adapter = Some(adapter);
            checkpoint.reward_head = head.or(checkpoint.reward_head);
        }
        let rows = checkpoint.trunk.architecture().shape.vocab;
        let there = dir.join("tokenizer.json").exists();
        let tokenizer = there.then(|| TextTokenizer::from_dir(dir)).transpose()?;
        let tokenizer = tokenizer.map(|tokenizer| tokenizer.with_rows(rows));
        Ok(Self { bank: ModelBank::frozen(checkpoint), dir: dir.to_owned(), tokenizer })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// A folder without `tokenizer.json`.
    pub fn tokenizer(&self) -> Result<&TextTokenizer> {
        match &self.tokenizer {
            Some(tokenizer) => Ok(tokenizer),
            // Says what the folder holds instead.
            None => Err(TextTokenizer::from_dir(&self.dir).err().map_or_else(
                || anyhow::anyhow!("{}: the tokenizer came later", self.dir.display()),
                Into::into,
            )),
        }
    }

    /// The folder that it came from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The decoder.
    ///
    /// # Panics
    /// Never: a frozen bank has one trunk.
    pub fn trunk(&self) -> &hydralign::models::Trunk {
        self.bank.trunk(0).expect("a frozen bank has one trunk")
    }
}
