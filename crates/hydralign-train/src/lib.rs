#![doc = include_str!("../README.md")]

mod checkpoint;
mod critic_free;
mod error;
mod memory;
mod model_folder;
mod one_model;
mod ppo;
mod ppo_hooks;
mod ppo_run;
mod preference_run;
mod recipe;
mod sampling;
mod supervised;
mod trainable;
mod trainer;

pub use checkpoint::{CheckpointState, Checkpoints, StageCheckpoints, run_name};
pub use critic_free::CriticFreeRecipe;
pub use error::TrainError;
pub use memory::{BudgetWatch, PpoMemory, carried, checkpoint_bytes, hold_models};
pub use model_folder::ModelFolder;
pub use one_model::{OneModelRecipe, Policy};
pub use ppo::PpoRecipe;
pub use ppo_hooks::{HookedPpo, PpoHooks, Rows};
pub use ppo_run::PpoRun;
pub use preference_run::PreferenceRun;
pub use recipe::{Context, Recipe, Stateless, Values};
pub use sampling::Sampling;
pub use supervised::Supervised;
pub use trainable::Trainable;
pub use trainer::{Trained, Trainer};
