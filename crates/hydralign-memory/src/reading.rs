use hydralign_placement::Role;
use serde::{Deserialize, Serialize};

/// Something that an algorithm reads of a batch, as far as bytes depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A log-probability of each response token.
    Logprobs(Role),
    /// The entropy of the distribution that predicts each response token.
    Entropy(Role),
    /// A value of the state before each response token.
    Values(Role),
    /// A number at the last token of each row.
    Score(Role),
}

impl Reading {
    /// The role that answers.
    pub fn role(self) -> Role {
        match self {
            Reading::Logprobs(r) | Reading::Entropy(r) | Reading::Values(r) | Reading::Score(r) => {
                r
            }
        }
    }

    /// True if the reading needs the LM head.
    pub fn needs_logits(self) -> bool {
        matches!(self, Reading::Logprobs(_) | Reading::Entropy(_))
    }
}

/// One reading and whether it is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is read.
    pub reading: Reading,
    /// Whether its graph is kept.
    pub gradient: bool,
}

impl Request {
    /// A reading without a graph.
    pub fn constant(reading: Reading) -> Self {
        Self { reading, gradient: false }
    }

    /// A reading that is differentiated.
    pub fn differentiable(reading: Reading) -> Self {
        Self { reading, gradient: true }
    }
}
