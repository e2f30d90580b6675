#![doc = include_str!("../README.md")]

mod batch;
mod decoder;
mod differentiate;
mod episode;
mod error;
mod fingerprint;
mod objective;
mod observer;
pub mod random;
mod reading;
mod reward;
mod roles;

pub use batch::{Sequence, TokenBatch};
pub use decoder::Decoder;
pub use differentiate::{Differentiable, differentiate_at_once};
pub use episode::{Episode, Finish};
pub use error::CoreError;
pub use fingerprint::Fingerprint;
pub use objective::{Loss, Objective};
pub use observer::{Observer, Phase, PhaseFn, Stats, StatsFn, Work, WorkKind, phase_fn, stats_fn};
pub use reading::{ActionHead, Gradient, Outputs, Reading, Request};
pub use reward::{EpisodeFn, IntoScore, Reward, episode_fn};
pub use roles::Roles;

pub use hydralign_placement::Role;
