#![doc = include_str!("../README.md")]

mod activations;
mod buffers;
mod count;
mod error;
mod estimate;
mod flops;
mod footprint;
mod kept;
mod meter;
mod moment;
mod phase;
mod predict;
mod process;
mod size;
mod stored;
mod workload;

pub use error::MemoryError;
pub use estimate::Estimate;
pub use flops::{PassTokens, forward_flops, generate_flops, train_flops};
pub use footprint::{Category, Footprint};
pub use kept::{Kept, kept_by_block};
pub use meter::{AllocatorMeter, Meter};
pub use moment::Moment;
pub use phase::PhaseName;
pub use predict::{Prediction, predict};
pub use process::ProcessMeter;
pub use size::{format_bytes, parse_bytes};
pub use workload::{Dtype, Workload};
