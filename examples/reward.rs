//! A reward model of the user's own: what it reads, and how it scores.

use crate::note;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use hydralign::data::{ChatTemplate, PromptSource, TextTokenizer};
use hydralign::models::{ModelBank, load_checkpoint};
use hydralign::prelude::*;
use hydralign::rewards::{Ending, ModelText, RewardModel, Translation};
use serde::Serialize;
use std::path::Path;

/// Whether the reward model sees an end behind a response.
#[derive(Clone, Copy, Debug, Default, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardEnding {
    /// Its EOS, or the end of a turn, where the policy ended its response.
    #[default]
    AsSampled,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<RewardEnding> for Ending {
    fn from(ending: RewardEnding) -> Self {
        match ending {
            RewardEnding::AsSampled => Self::AsSampled,
            RewardEnding::Always => Self::Always,
            RewardEnding::Never => Self::Never,
        }
    }
}

/// A reward model, and how a policy's tokens become its own.
#[derive(Debug)]
pub struct OwnReward {
    name: String,
    model: Checkpoint,
    translation: Translation,
}

impl OwnReward {
    /// A reward model that was made from the policy: its tokens are the policy's.
    ///
    /// # Errors
    /// A tokenizer that cannot be written down.
    pub fn of_policy(model: Checkpoint, tokenizer: TextTokenizer) -> Result<Self> {
        let text = ModelText { tokenizer, template: None };
        let translation = Translation::new(text.clone(), text, [], Ending::AsSampled)?;
        Ok(Self { name: "the reward model".into(), model, translation })
    }

    /// A reward model's folder, for a policy that reads `text` and whose embedding has so many rows.
    ///
    /// # Errors
    /// A folder without weights or `score.weight`; prompts that the model cannot be given.
    pub fn open(
        dir: &Path,
        device: &Device,
        (policy, vocab): (ModelText, usize),
        prompts: Vec<PromptSource>,
        ending: Ending,
    ) -> Result<Self> {
        let name = format!("the reward model {}", dir.display());
        let model = load_checkpoint(dir, device)?;
        ensure!(model.reward_head.is_some(), "{name} has no `score.weight`");
        let own = model.trunk.architecture().shape.vocab;
        let text = own_text(dir, own, &policy, vocab)?;
        let translation = Translation::new(policy, text, prompts, ending);
        let translation = translation.with_context(|| name.clone())?;
        let longest = translation.longest_prompt().with_context(|| name.clone())?;
        let context = model.trunk.architecture().context;
        ensure!(
            longest < context,
            "{name} has a context of {context}, and reads a prompt as {longest} tokens: there is no room for a response"
        );
        if !translation.same_tokens() {
            note(&format!("{name} has a tokenizer of its own: what is said reaches it as text"));
        }
        Ok(Self { name, model, translation })
    }

    /// The model, held to score.
    pub fn bank(&self) -> ModelBank {
        ModelBank::frozen(self.model.clone())
    }

    /// Scores with a bank that holds the model, `rows` episodes at a time.
    pub fn by<'a>(&'a self, bank: &'a ModelBank, rows: usize) -> RewardModel<'a, &'a ModelBank> {
        let padding = self.model.trunk.architecture().padding();
        RewardModel::new(bank, &self.translation, rows).with_padding(padding)
    }

    /// Scores of responses, which end as sampled ones do: with a stop token, or where they were cut.
    ///
    /// # Errors
    /// What the translation or the model report.
    pub fn scores(&self, bank: &ModelBank, rows: &[Sequence], at_once: usize) -> Result<Vec<f32>> {
        let episodes: Vec<Episode> = rows.iter().map(|row| self.translation.episode(row)).collect();
        self.by(bank, at_once).score(&episodes).with_context(|| self.name.clone())
    }
}

/// How the folder's model is given text; what the folder does not say is said to the user.
fn own_text(dir: &Path, own: usize, policy: &ModelText, vocab: usize) -> Result<ModelText> {
    let template = ChatTemplate::from_dir(dir)?;
    if dir.join("tokenizer.json").exists() {
        return Ok(ModelText { tokenizer: TextTokenizer::from_dir(dir)?, template });
    }
    ensure!(
        own == vocab,
        "{}: no tokenizer.json, and a vocabulary of {own} where the policy has {vocab}: which tokens the reward model reads is not known",
        dir.display()
    );
    note(&format!("{} has no tokenizer.json: it is given the policy's tokens", dir.display()));
    let template = template.or_else(|| policy.template.clone());
    Ok(ModelText { tokenizer: policy.tokenizer.clone(), template })
}
