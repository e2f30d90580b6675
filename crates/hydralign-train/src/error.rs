use hydralign_algorithms::AlgorithmError;
use hydralign_core::{CoreError, Phase};
use hydralign_data::{ChatError, DataError};
use hydralign_memory::MemoryError;
use hydralign_models::ModelError;
use hydralign_rollout::{RolloutError, SampleError};
use hydralign_runs::RunError;
use std::path::PathBuf;
use thiserror::Error;

/// What can end a run. Each text is complete, reason included.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A step was given up because the run was asked to stop; nothing of it has been learnt.
    #[error("stopped")]
    Stopped,
    /// A checkpoint that is not what was written.
    #[error("checkpoint `{}`: {reason}; without its folder, the one before is the newest", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of a run with other settings, models or data.
    #[error(
        "checkpoint `{}` is of another run: its settings, models or data are not those of this one",
        path.display()
    )]
    OtherRun {
        /// Its folder.
        path: PathBuf,
    },
    /// What a recipe carries cannot be written down.
    #[error("the state of the recipe cannot be written: {reason}")]
    State {
        /// Why.
        reason: String,
    },
    /// A step failed.
    #[error("stage {stage}, step {step}{}: {reason}", in_phase(*phase))]
    Step {
        /// The stage.
        stage: String,
        /// Which one, from 1.
        step: usize,
        /// The phase that it was in, if it said one.
        phase: Option<Phase>,
        /// Why.
        reason: Box<TrainError>,
    },
    /// The policy answers nothing.
    #[error("all {count} responses are empty: a stop token and nothing before it")]
    EmptyResponses {
        /// Responses that were drawn.
        count: usize,
    },
    /// A statistic that has left its bounds.
    #[error("{name} is {value}, {} the limit of {limit}", if *above { "above" } else { "below" })]
    Limit {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The bound.
        limit: f64,
        /// Which side of it is out of bounds.
        above: bool,
    },
    /// A guard has done what it may as often as it may.
    #[error("{reason}; guards have stepped in {times} times in a row")]
    TooOften {
        /// What was the matter the last time.
        reason: Box<TrainError>,
        /// How often.
        times: usize,
    },
    /// The best checkpoint by a number that no evaluation measures.
    #[error("the best by `{metric}` cannot be found: {}", measured(there))]
    NoMetric {
        /// The name that was given.
        metric: String,
        /// What the evaluation measures; nothing without one.
        there: Vec<String>,
    },
    /// A number of which it is not known whether more is better.
    #[error("whether more or less of `{metric}` is better is not known: it must be said")]
    NoDirection {
        /// Its name.
        metric: String,
    },
    /// A fault of the algorithm.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
    /// A fault between model and algorithm.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A fault of a data set or a tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A chat template that cannot be read.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A fault of a model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A fault while sampling.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// A plan that cannot be: nothing fits into the budget.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A sampler that cannot be.
    #[error(transparent)]
    Sampler(#[from] SampleError),
    /// A fault of the files around the run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl TrainError {
    /// Whether the numbers went bad, and not the input.
    pub fn is_numerical(&self) -> bool {
        match self {
            Self::Step { reason, .. } | Self::TooOften { reason, .. } => reason.is_numerical(),
            Self::Algorithm(error) => matches!(error, AlgorithmError::NonFinite { .. }),
            _ => false,
        }
    }

    /// Whether the reward gave no usable scores.
    pub fn is_of_reward(&self) -> bool {
        match self {
            Self::Step { reason, .. } | Self::TooOften { reason, .. } => reason.is_of_reward(),
            Self::Core(error) | Self::Algorithm(AlgorithmError::Core(error)) => {
                use CoreError::{Reward, ScoreCount, ScoreNotFinite};
                matches!(error, Reward(_) | ScoreCount { .. } | ScoreNotFinite { .. })
            }
            _ => false,
        }
    }
}

fn measured(there: &[String]) -> String {
    match there {
        [] => "there is no evaluation".into(),
        there => format!("the evaluation measures {}", there.join(", ")),
    }
}

fn in_phase(phase: Option<Phase>) -> String {
    phase.map_or_else(String::new, |phase| format!(", phase {phase}"))
}
