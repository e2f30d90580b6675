#![doc = include_str!("../README.md")]

mod error;
mod execution;
mod lora;
mod parts;
mod pass;
mod placement;
mod presets;
mod role;
mod shape;
mod start;
mod validate;

pub use error::PlacementError;
pub use execution::Execution;
pub use lora::{LoraShape, Target};
pub use parts::Parts;
pub use pass::Pass;
pub use placement::{AdapterSpec, AdapterStart, Placement, Source, TrunkSpec, View};
pub use role::Role;
pub use shape::{ModelShape, WeightDims};
