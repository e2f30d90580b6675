//! Adapters in place of all weights: fresh ones, or one that training goes on with.

use crate::setup::Setup;
use anyhow::{Result, ensure};
use hydralign::models::{
    ModelBank, SaveOptions, copy_companions, load_adapter, save_adapter, save_checkpoint,
};
use hydralign::prelude::*;
use hydralign::train::Policy;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is trained.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct AdapterArgs {
    /// Train adapters of this rank over frozen weights [default: all weights are trained].
    #[arg(long, value_name = "RANK", conflicts_with = "adapter")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_rank: Option<usize>,
    /// α of the adapters, whose scale is α / rank [default: twice the rank].
    #[arg(long, value_name = "ALPHA", requires = "lora_rank", conflicts_with = "adapter")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<f64>,
    /// Go on with an adapter in PEFT layout; as it is now, it is the frozen reference too.
    #[arg(long, value_name = "DIR", requires = "model")]
    #[serde(skip)]
    pub adapter: Option<PathBuf>,
}

impl AdapterArgs {
    /// Writes the defaults out, so that the saved settings show them.
    pub fn fill(&mut self) {
        if let Some(rank) = self.lora_rank {
            self.lora_alpha.get_or_insert(2.0 * rank as f64);
        }
    }

    /// Whether the weights of the model are left as they are.
    pub fn is_set(&self) -> bool {
        self.lora_rank.is_some() || self.adapter.is_some()
    }

    /// The shape of fresh adapters, if such are trained.
    ///
    /// # Errors
    /// A rank of 0, an α that scales to nothing.
    pub fn shape(&self) -> Result<Option<LoraShape>> {
        let Some(rank) = self.lora_rank else { return Ok(None) };
        let alpha = self.lora_alpha.unwrap_or(2.0 * rank as f64);
        ensure!(rank > 0, "--lora-rank must be at least 1");
        ensure!(
            alpha.is_finite() && alpha > 0.0,
            "--lora-alpha must be above 0 and finite: it is {alpha}"
        );
        Ok(Some(LoraShape { rank, alpha, ..LoraShape::default() }))
    }

    /// Adds the adapter that training goes on with.
    ///
    /// # Errors
    /// A folder that cannot be read, or is not of this model.
    pub fn load(&self, policy: &mut Checkpoint, device: &Device) -> Result<()> {
        if let Some(dir) = &self.adapter {
            let (adapter, head) = load_adapter(dir, policy.trunk.architecture(), device)?;
            ensure!(
                head.is_none(),
                "--adapter {}: it has a scalar head, so it is of a reward model and no policy",
                dir.display()
            );
            policy.adapter = Some(adapter);
        }
        Ok(())
    }
}

impl Setup {
    /// The policy that learns, and beside it the reference where that is to be held: all weights, or an
    /// adapter over frozen ones, which without it are the reference.
    ///
    /// # Errors
    /// A model that cannot be built.
    pub fn policy_bank(&self, name: &str, reference: bool) -> Result<ModelBank> {
        self.bank(Placement::policy(name, reference, false), "policy")
    }

    /// What learns in a placement: all weights, or an adapter of that name.
    fn bank(&self, placement: Placement, adapter: &str) -> Result<ModelBank> {
        let adapted = |p: Placement| p.with_adapter(adapter).sharing_reference();
        let placement = match (&self.policy.adapter, &self.lora) {
            (Some(_), _) => adapted(placement).starting_from_adapter(false)?,
            (None, Some(_)) => adapted(placement),
            (None, None) => placement,
        };
        let lora = self.lora.clone().unwrap_or_default();
        let start = Start::joint(&self.policy);
        self.passes.carry(ModelBank::new(&placement, &start, &lora, self.seed)?)
    }

    /// The policy of methods that hold one model at a time: with an adapter, if one is trained.
    ///
    /// # Errors
    /// As [`Setup::policy_bank`].
    pub fn policy(&self) -> Result<Policy> {
        let start = self.policy.clone();
        Ok(match &self.lora {
            Some(lora) => Policy::with_adapter(start, lora, self.seed)?,
            None => Policy::new(start)?,
        })
    }

    /// A reward model that learns: all weights and a head, or an adapter and a head.
    ///
    /// # Errors
    /// As [`Setup::policy_bank`].
    pub fn reward_bank(&self) -> Result<ModelBank> {
        self.bank(Placement::reward_model(), "reward")
    }

    /// Writes a reward model as a sequence-classification model, its adapter merged and beside it too.
    pub(crate) fn save_reward_model(&self, bank: &ModelBank, dir: &Path) -> Result<()> {
        let Checkpoint { trunk, adapter, reward_head } = bank.checkpoint(Role::Reward)?;
        let head = reward_head.as_ref();
        let merged = adapter.as_ref().map(|adapter| trunk.merge(adapter)).transpose()?;
        save_checkpoint(dir, merged.as_ref().unwrap_or(&trunk), head, &SaveOptions::default())?;
        copy_companions(&self.companions, dir)?;
        if let Some(adapter) = &adapter {
            let base = base_name(&self.companions)?;
            save_adapter(&dir.join("adapter"), adapter, head, trunk.architecture(), &base)?;
        }
        Ok(())
    }

    /// Whether adapters are trained and not the model's weights.
    pub fn trains_adapters(&self) -> bool {
        self.lora.is_some() || self.policy.adapter.is_some()
    }

    /// Name of what a run leaves in its folder.
    pub fn result(&self) -> &'static str {
        if self.trains_adapters() && self.learns == Role::Actor { "adapter" } else { "model" }
    }
}

/// What a trained adapter names as its base: an absolute path, because what loads it looks from the folder
/// that it is started in.
///
/// # Errors
/// A current folder that is gone.
pub fn base_name(dir: &Path) -> Result<String> {
    Ok(std::path::absolute(dir)?.display().to_string())
}
