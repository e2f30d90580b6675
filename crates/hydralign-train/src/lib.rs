#![doc = include_str!("../README.md")]

mod best;
mod checkpoint;
mod critic_free;
mod error;
mod evaluation;
mod guard;
mod guarded;
mod named;
mod one_model;
mod ppo;
mod recipe;
mod sampling;
mod supervised;
mod trainable;
mod trainer;

pub use best::{Best, BestBy, BestState, Better};
pub use checkpoint::{CheckpointState, Checkpoints, run_name};
pub use critic_free::CriticFreeRecipe;
pub use error::TrainError;
pub use evaluation::{Evaluate, Evaluation, HeldOutPolicy, HeldOutPrompts, HeldOutRows};
pub use guard::{Guards, Limit, OnFault, OnNumbers, TimedReward};
pub use one_model::{OneModelRecipe, Policy};
pub use ppo::PpoRecipe;
pub use recipe::{Context, Recipe, Stateless, Values};
pub use sampling::Sampling;
pub use supervised::Supervised;
pub use trainable::Trainable;
pub use trainer::{Trained, Trainer, TrainerState};
