use crate::{CoreError, Role};
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use std::fmt;

/// One of the critic's heads that values every token of the vocabulary as the next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionHead {
    /// The first trained one.
    First,
    /// The second trained one.
    Second,
    /// The slowly following copy of the first.
    FirstTarget,
    /// The slowly following copy of the second.
    SecondTarget,
}

impl ActionHead {
    /// Every head.
    pub const ALL: [ActionHead; 4] =
        [ActionHead::First, ActionHead::Second, ActionHead::FirstTarget, ActionHead::SecondTarget];
}

/// Something that an objective may read, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// log π(y_t | x, y_<t) of each response token. Packed `[tokens]`.
    Logprobs(Role),
    /// Entropy of the distribution that predicts each response token, in nats. Packed `[tokens]`.
    Entropy(Role),
    /// V of the state *before* each response token. Packed `[tokens]`.
    Values(Role),
    /// Scalar head at each response token itself: the value of the prefix that ends with it, the
    /// state *after* the token. Packed `[tokens]`.
    PrefixValues(Role),
    /// Q(s_t, y_t) of each response token: the critic's action head at the state before it, for the
    /// token that followed. Packed `[tokens]`.
    ActionValue(ActionHead),
    /// log Σ_a exp Q(s_t, a) over the vocabulary, for each response token. Packed `[tokens]`.
    ActionLogSum(ActionHead),
    /// Scalar head at the last real token of each row. `[rows]`.
    Score(Role),
}

impl Reading {
    /// The role that answers.
    pub fn role(self) -> Role {
        match self {
            Reading::Logprobs(r)
            | Reading::Entropy(r)
            | Reading::Values(r)
            | Reading::PrefixValues(r)
            | Reading::Score(r) => r,
            Reading::ActionValue(_) | Reading::ActionLogSum(_) => Role::Critic,
        }
    }

    /// True if the reading needs the LM head.
    pub fn needs_logits(self) -> bool {
        matches!(self, Reading::Logprobs(_) | Reading::Entropy(_))
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Reading::Logprobs(_) => "log-probabilities",
            Reading::Entropy(_) => "entropies",
            Reading::Values(_) => "values",
            Reading::PrefixValues(_) => "prefix values",
            Reading::ActionValue(_) => "action values",
            Reading::ActionLogSum(_) => "log-sums of action values",
            Reading::Score(_) => "scores",
        };
        write!(f, "{what} of the {}", self.role())
    }
}

/// Whether a reading is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gradient {
    /// No graph is kept.
    Off,
    /// The graph back to the trainable weights is kept.
    On,
}

/// One reading and whether it is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to read.
    pub reading: Reading,
    /// Whether to keep its graph.
    pub gradient: Gradient,
}

impl Request {
    /// A reading without a graph.
    pub fn constant(reading: Reading) -> Self {
        Self { reading, gradient: Gradient::Off }
    }

    /// A reading that is differentiated.
    pub fn differentiable(reading: Reading) -> Self {
        Self { reading, gradient: Gradient::On }
    }
}

/// The answers to a set of requests, one vector each.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    readings: BTreeMap<Reading, Tensor<1>>,
}

impl Outputs {
    /// No answers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an answer.
    pub fn insert(&mut self, reading: Reading, value: Tensor<1>) {
        self.readings.insert(reading, value);
    }

    /// The answer to a reading.
    ///
    /// # Errors
    /// [`CoreError::MissingReading`] if it was not requested.
    pub fn get(&self, reading: Reading) -> Result<Tensor<1>, CoreError> {
        self.readings.get(&reading).cloned().ok_or(CoreError::MissingReading { reading })
    }

    /// The answer to a reading, on the host.
    ///
    /// # Errors
    /// [`CoreError::MissingReading`] if it was not requested.
    pub fn to_vec(&self, reading: Reading) -> Result<Vec<f32>, CoreError> {
        let data = self.get(reading)?.into_data().convert::<f32>();
        data.try_into_vec::<f32>().map_err(|e| CoreError::Other(format!("{e:?}").into()))
    }
}
