#![doc = include_str!("../README.md")]

mod checkpoint;
mod critic_free;
mod error;
mod memory;
mod one_model;
mod ppo;
mod ppo_hooks;
mod recipe;
mod sampling;
mod supervised;
mod trainable;
mod trainer;

pub use checkpoint::{CheckpointState, Checkpoints, StageCheckpoints, run_name};
pub use critic_free::CriticFreeRecipe;
pub use error::TrainError;
pub use memory::{BudgetWatch, PpoMemory, carried, checkpoint_bytes, hold_models};
pub use one_model::{OneModelRecipe, Policy};
pub use ppo::PpoRecipe;
pub use ppo_hooks::{HookedPpo, PpoHooks, Rows};
pub use recipe::{Context, Recipe, Stateless, Values};
pub use sampling::Sampling;
pub use supervised::Supervised;
pub use trainable::Trainable;
pub use trainer::{Trained, Trainer};
