use serde::{Deserialize, Serialize};
use std::fmt;

/// The phases of a training iteration that hold different buffers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// Sampling responses: weights, cache, one step's logits.
    Generate,
    /// Reading reference, reward and values without a graph.
    Score,
    /// Gradient steps: the graph and the gradients.
    #[default]
    Update,
}

impl PhaseName {
    /// Every phase, in the order in which an iteration goes through them.
    pub const ALL: [PhaseName; 3] = [PhaseName::Generate, PhaseName::Score, PhaseName::Update];

    /// The lower-case name that files and tables use.
    pub fn name(self) -> &'static str {
        match self {
            PhaseName::Generate => "generate",
            PhaseName::Score => "score",
            PhaseName::Update => "update",
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
