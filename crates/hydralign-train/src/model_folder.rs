use crate::TrainError;
use burn::tensor::Device;
use hydralign_algorithms::Pair;
use hydralign_core::{Role, Sequence};
use hydralign_data::{ChatTemplate, PromptSource, Reader, TextTokenizer};
use hydralign_models::{
    Checkpoint, ModelBank, SaveOptions, copy_companions, load_checkpoint, save_adapter,
    save_checkpoint,
};
use std::path::{Path, PathBuf};

/// A model with what it reads and writes: weights, tokenizer and chat template of a Hugging Face folder.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The weights that runs start from.
    pub model: Checkpoint,
    /// The tokenizer.
    pub tokenizer: TextTokenizer,
    /// How conversations are rendered, if the folder says.
    pub template: Option<ChatTemplate>,
    dir: PathBuf,
}

impl ModelFolder {
    /// Loads a folder onto a device.
    ///
    /// # Errors
    /// A file that is missing or not what it should be, which is named.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self, TrainError> {
        let dir = dir.as_ref().to_owned();
        let model = load_checkpoint(&dir, device)?;
        let (tokenizer, template) = (TextTokenizer::from_dir(&dir)?, ChatTemplate::from_dir(&dir)?);
        Ok(Self { model, tokenizer, template, dir })
    }

    /// The device that the model is on.
    pub fn device(&self) -> Device {
        self.model.trunk.device()
    }

    /// Positions that the model has.
    pub fn context(&self) -> usize {
        self.model.trunk.architecture().context
    }

    /// Reads data sets with the model's tokenizer, template and context; what becomes of rows that are too long or
    /// bad is set on it.
    pub fn reader(&self) -> Reader<'_> {
        Reader { template: self.template.as_ref(), ..Reader::new(&self.tokenizer, self.context()) }
    }

    /// The prompts of files, given by paths or patterns.
    ///
    /// # Errors
    /// As [`Reader::prompt_sources`].
    pub fn prompts<S: AsRef<str>>(&self, files: &[S]) -> Result<Vec<PromptSource>, TrainError> {
        Ok(self.reader().prompt_sources(files)?.0)
    }

    /// The demonstrations of files.
    ///
    /// # Errors
    /// As [`Reader::demonstrations`].
    pub fn demonstrations<S: AsRef<str>>(&self, files: &[S]) -> Result<Vec<Sequence>, TrainError> {
        Ok(self.reader().demonstrations(files)?.0)
    }

    /// The preferences of files.
    ///
    /// # Errors
    /// As [`Reader::preferences`].
    pub fn preferences<S: AsRef<str>>(&self, files: &[S]) -> Result<Vec<Pair>, TrainError> {
        let (pairs, _) = self.reader().preferences(files)?;
        Ok(pairs.into_iter().map(|pair| (pair.chosen, pair.rejected).into()).collect())
    }

    /// Saves a policy that was trained from this model as a folder: its adapter in PEFT layout where it has one, else
    /// the whole model; beside it the tokenizer and what else belongs to it.
    ///
    /// # Errors
    /// What cannot be written; a bank without an actor.
    pub fn save(&self, bank: &ModelBank, dir: impl AsRef<Path>) -> Result<(), TrainError> {
        let dir = dir.as_ref();
        let view = bank.placement().view(Role::Actor).map_err(hydralign_core::CoreError::from)?;
        let adapter = view.adapter.as_deref().and_then(|name| bank.adapter(name));
        let architecture = self.model.trunk.architecture();
        match (adapter, bank.trunk(view.trunk)) {
            (Some(adapter), _) => {
                let base = self.dir.display().to_string();
                save_adapter(dir, adapter, None, architecture, &base)?;
            }
            (None, Some(trunk)) => save_checkpoint(dir, trunk, None, &SaveOptions::default())?,
            (None, None) => {
                return Err(
                    hydralign_core::CoreError::Other("the actor has no trunk".into()).into()
                );
            }
        }
        copy_companions(&self.dir, dir)?;
        Ok(())
    }
}
