use crate::{LoraShape, ModelShape, PlacementError, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The checkpoint that a trunk or adapter starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The policy at the start of the run (SFT, or the joint Hydra-SFT model).
    Policy,
    /// The reward model (the same checkpoint under Hydra).
    Reward,
}

/// One full set of decoder weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkSpec {
    /// Which checkpoint it is loaded from.
    pub source: Source,
    /// Whether its own weights are trained.
    pub trainable: bool,
}

/// What an adapter holds when the run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterStart {
    /// A random, B zero: the adapter changes nothing at first.
    Fresh,
    /// A copy of the adapter that the policy checkpoint or the reward checkpoint came with.
    CopyOf(Source),
}

/// One low-rank adapter on one trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSpec {
    /// Unique name, also the name of its folder when saved.
    pub name: String,
    /// Index of the trunk that it belongs to.
    pub trunk: usize,
    /// Whether it is trained.
    pub trainable: bool,
    /// What it holds at the start.
    pub start: AdapterStart,
}

/// A trunk seen through at most one adapter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Index of the trunk.
    pub trunk: usize,
    /// Name of the adapter; none is the trunk as it is ("adapter off").
    pub adapter: Option<String>,
}

impl View {
    /// The trunk as it is.
    pub fn trunk(trunk: usize) -> Self {
        Self { trunk, adapter: None }
    }

    /// The trunk through an adapter.
    pub fn adapter(trunk: usize, adapter: &str) -> Self {
        Self { trunk, adapter: Some(adapter.to_owned()) }
    }
}

/// Which weights serve which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Name for tables and run folders.
    pub name: String,
    /// Full sets of weights held at once.
    pub trunks: Vec<TrunkSpec>,
    /// Adapters over them.
    pub adapters: Vec<AdapterSpec>,
    /// The view that serves each role; a role that is absent is not part of the run.
    pub views: BTreeMap<Role, View>,
}

impl Placement {
    /// The view of a role.
    ///
    /// # Errors
    /// [`PlacementError::RoleAbsent`] if the placement does not serve the role.
    pub fn view(&self, role: Role) -> Result<&View, PlacementError> {
        self.views
            .get(&role)
            .ok_or_else(|| PlacementError::RoleAbsent { placement: self.name.clone(), role })
    }

    /// The adapter of that name.
    pub fn adapter(&self, name: &str) -> Option<&AdapterSpec> {
        self.adapters.iter().find(|a| a.name == name)
    }

    /// Whether anything that the view reads through is trained.
    pub fn is_trainable(&self, view: &View) -> bool {
        let trunk = self.trunks.get(view.trunk).is_some_and(|t| t.trainable);
        let adapter = view
            .adapter
            .as_deref()
            .and_then(|name| self.adapter(name))
            .is_some_and(|a| a.trainable);
        trunk || adapter
    }

    /// Whether the scalar head of a role is trained: always for a critic, and for a reward
    /// model exactly when its view is (as in reward modelling and Hydra-SFT).
    pub fn head_trainable(&self, role: Role) -> bool {
        match role {
            Role::Critic => self.views.contains_key(&Role::Critic),
            Role::Reward => self.views.get(&role).is_some_and(|v| self.is_trainable(v)),
            Role::Actor | Role::Reference => false,
        }
    }

    /// Whether a trunk predicts tokens for some role. One that does not (a critic or reward
    /// model of its own) is held without an LM head.
    pub fn predicts(&self, trunk: usize) -> bool {
        let reads_logits = |(role, view): (&Role, &View)| view.trunk == trunk && !role.is_scalar();
        self.views.iter().any(reads_logits)
    }

    /// Parameters of one trunk as it is held.
    pub fn trunk_parameters(&self, trunk: usize, shape: &ModelShape) -> u64 {
        let unused = if self.predicts(trunk) { 0 } else { shape.lm_head_parameters() };
        shape.parameters() - unused
    }

    /// Full models held ("static models" in the Hydra-RLHF paper, Table 2).
    pub fn static_models(&self) -> usize {
        self.trunks.len()
    }

    /// Trained adapters ("LoRA sets" in the Hydra-RLHF paper, Table 2).
    pub fn lora_sets(&self) -> usize {
        self.adapters.iter().filter(|a| a.trainable).count()
    }

    /// Parameters that are trained: trunks, adapters and scalar heads `[h → 1]`.
    pub fn trained_parameters(&self, shape: &ModelShape, lora: &LoraShape) -> u64 {
        let trained = (0..self.trunks.len()).filter(|&i| self.trunks[i].trainable);
        let trunks: u64 = trained.map(|i| self.trunk_parameters(i, shape)).sum();
        let heads = Role::ALL.iter().filter(|&&r| self.head_trainable(r)).count() as u64;
        trunks + self.lora_sets() as u64 * lora.parameters(shape) + heads * shape.width() as u64
    }

    /// Parameters that are held: every trunk, adapter and scalar head.
    pub fn held_parameters(&self, shape: &ModelShape, lora: &LoraShape) -> u64 {
        let heads = self.views.keys().filter(|r| r.is_scalar()).count() as u64;
        let trunks: u64 = (0..self.trunks.len()).map(|i| self.trunk_parameters(i, shape)).sum();
        trunks + self.adapters.len() as u64 * lora.parameters(shape) + heads * shape.width() as u64
    }
}
