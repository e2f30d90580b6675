//! Parts that the examples share: the shipped task, devices, and the stages of a run.

pub mod data;
pub mod device;
pub mod evaluate;
pub mod memory;
pub mod recipe;
pub mod report;
pub mod stages;
pub mod task;

use std::path::PathBuf;

/// The folder of the shipped base model.
pub fn base_model_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/base")
}
