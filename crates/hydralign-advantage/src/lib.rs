#![doc = include_str!("../README.md")]

mod check;
mod controller;
mod error;
mod gae;
mod kl;
mod moments;
mod normalise;
mod reward;
mod whiten;

pub use controller::{AdaptiveKl, FixedKl, KlControl, KlController};
pub use error::AdvantageError;
pub use gae::{Credit, gae};
pub use kl::{KlEstimator, mean_sequence_kl};
pub use moments::{Moments, Variance};
pub use normalise::{ScoreNormalisation, ScoreNormaliser};
pub use reward::{RewardShaping, ShapedRewards, shape_rewards};
pub use whiten::whiten;
