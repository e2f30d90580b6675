use crate::TrainError;
use hydralign_core::Observer;
use hydralign_runs::StopFlag;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Named numbers of a step, in the order in which they are reported.
pub type Values = Vec<(String, f64)>;

/// What a step may use of the run that it is in.
pub struct Context<'a> {
    /// Is told of phases.
    pub observer: &'a mut dyn Observer,
    /// Whether the run was asked to stop. A step that sees it may give up, unless it has begun to learn.
    pub stop: &'a StopFlag,
    /// What the recipe's learning rate is multiplied by: 1, unless a guard has halved it.
    pub lr_scale: f64,
}

impl<'a> Context<'a> {
    /// A context at the recipe's own learning rate.
    pub fn new(observer: &'a mut dyn Observer, stop: &'a StopFlag) -> Self {
        Self { observer, stop, lr_scale: 1.0 }
    }
}

/// A method of learning, step by step, on what it trains: a `Learner`, or a policy.
///
/// All that decides a step is its number, the learner and the state, so a run can be cut between any two
/// steps and go on in another process. Random numbers follow from the recipe's seed and the step's number.
pub trait Recipe<T> {
    /// What is carried from step to step beside the learner. It must survive TOML.
    type State: Serialize + DeserializeOwned;

    /// How many steps there are, and the state before the first.
    ///
    /// # Errors
    /// Settings out of range; nothing to learn from.
    fn begin(&self) -> Result<(usize, Self::State), TrainError>;

    /// Takes a step, from 1.
    ///
    /// # Errors
    /// [`TrainError::Stopped`] if it gave up, and whatever else ends the run. The learner holds the weights of
    /// the last good optimizer step.
    fn step(
        &self,
        step: usize,
        learner: &mut T,
        state: &mut Self::State,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError>;
}

/// The state of a recipe that carries nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stateless {}
