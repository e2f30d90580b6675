#![doc = include_str!("../README.md")]

mod action_heads;
mod adapter;
mod attention;
mod bank;
mod block;
mod cache;
mod checkpoint;
mod cut;
mod decode;
mod differentiate;
mod error;
mod files;
mod init;
mod linear;
mod load;
mod low_rank;
mod merge;
mod narrow;
mod norm;
mod peft;
mod predict;
mod read;
mod rope;
mod save;
mod scalar_head;
mod segmented;
mod sight;
mod start;
mod trunk;
mod weights;

pub use action_heads::{ActionHeads, ActionValues};
pub use adapter::Adapter;
pub use bank::ModelBank;
pub use cache::Cache;
pub use checkpoint::{Checkpoint, load_checkpoint, load_checkpoint_of};
pub use error::ModelError;
pub use files::{SaveOptions, StoredDtype, copy_companions};
pub use hydralign_families::{
    Activation, Architecture, FamilyError, NormKind, Positions, Residual, Rope, RopeScaling,
    Sliding, Window,
};
pub use init::random_trunk;
pub use peft::{load_adapter, save_adapter};
pub use save::save_checkpoint;
pub use scalar_head::{ScalarHead, ValueHead};
pub use start::Start;
pub use trunk::Trunk;
