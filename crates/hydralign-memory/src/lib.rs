#![doc = include_str!("../README.md")]

mod buffers;
mod cost;
mod count;
mod error;
mod estimate;
mod flops;
mod footprint;
mod kept;
mod meter;
mod method;
mod phase;
mod predict;
mod process;
mod profile;
mod reading;
mod shadow;
mod size;
mod stored;
mod terms;
mod workload;

pub use cost::Cost;
pub use error::MemoryError;
pub use estimate::{Estimate, predict};
pub use flops::{PassTokens, forward_flops, generate_flops, train_flops};
pub use footprint::{Category, Footprint};
pub use kept::{Kept, kept_by_block};
pub use meter::{AllocatorMeter, Meter};
pub use method::{Activity, Method, Work};
pub use phase::PhaseName;
pub use predict::Prediction;
pub use process::ProcessMeter;
pub use profile::{Bookkeeping, Packing, Profile};
pub use reading::{Reading, Request};
pub use size::{format_bytes, parse_bytes};
pub use terms::Terms;
pub use workload::{Dtype, Workload};
