//! Which weights serve which role, as plain values.
//!
//! A [`Placement`] says how many trunks a run holds, which adapters lie on them and which
//! `(trunk, adapter)` view serves the actor, the critic, the reference and the reward model.
//! The five PPOs of Hydra-RLHF are five such values over one code path. The same value
//! builds the models, groups the roles into trunk passes and predicts the bytes.
//!
//! No tensor library here: this crate builds in seconds and suits planners.

mod error;
mod lora;
mod pass;
mod placement;
mod presets;
mod role;
mod shape;
mod start;
mod validate;

pub use error::PlacementError;
pub use lora::{LoraShape, Target};
pub use pass::Pass;
pub use placement::{AdapterSpec, AdapterStart, Placement, Source, TrunkSpec, View};
pub use role::Role;
pub use shape::ModelShape;
