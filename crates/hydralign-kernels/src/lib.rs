#![doc = include_str!("../README.md")]

mod alloc;
mod error;
mod log_prob;
mod retain;
mod segments;

pub use alloc::CountingAllocator;
pub use error::KernelError;
pub use log_prob::{LinearGradients, LogProb, TokenLogProbs, TokenSlopes, Vocabulary};
pub use retain::retain_freed_memory;
pub use segments::{Segment, Segments};
