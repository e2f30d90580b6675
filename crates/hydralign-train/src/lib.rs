#![doc = include_str!("../README.md")]

mod checkpoint;
mod error;
mod ppo;
mod recipe;
mod supervised;
mod trainer;

pub use checkpoint::{CheckpointState, Checkpoints, run_name};
pub use error::TrainError;
pub use ppo::PpoRecipe;
pub use recipe::{Context, Recipe, Stateless, Values};
pub use supervised::Supervised;
pub use trainer::{Trained, Trainer};
