#![doc = include_str!("../README.md")]

mod alloc;
mod retain;

pub use alloc::CountingAllocator;
pub use retain::retain_freed_memory;
