#![doc = include_str!("../README.md")]

mod blockwise;
mod collect;
mod config;
mod engine;
mod error;
mod filter;
mod generator;
mod guided;
mod response;
mod rng;
mod sampler;
mod sampler_config;
mod softmax;

pub use blockwise::Blockwise;
pub use collect::{RolloutStats, sample_prompts};
pub use config::{GenerationConfig, Prompt};
pub use engine::Engine;
pub use error::{RolloutError, SampleError};
pub use generator::{Generator, Monitor, Progress};
pub use guided::Guided;
pub use rng::Key;
pub use sampler::{Draw, FilteredSampler, Sampler};
pub use sampler_config::SamplerConfig;
