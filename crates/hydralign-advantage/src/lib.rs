#![doc = include_str!("../README.md")]

mod check;
mod controller;
mod error;
mod gae;
mod group;
mod kl;
mod moments;
mod normalise;
mod overlong;
mod returns;
mod reward;
mod selection;
mod soft_value;
mod weighting;
mod whiten;

pub use controller::{AdaptiveKl, FixedKl, KlControl, KlController};
pub use error::AdvantageError;
pub use gae::{AdvantageEstimator, Credit, Gae, gae};
pub use group::{GroupAdvantage, GroupBaseline, GroupScale, informative_groups};
pub use kl::{KlEstimator, mean_sequence_kl};
pub use moments::{Moments, Variance};
pub use normalise::{ScoreNormalisation, ScoreNormaliser};
pub use overlong::OverlongPenalty;
pub use returns::returns_to_go;
pub use reward::{RewardShaping, ShapedRewards, shape_rewards};
pub use selection::{Selection, best_of_n_kl};
pub use soft_value::{leave_one_out_values, soft_value};
pub use weighting::{Normaliser, Weighting, effective_sample_size, temperature_for_ess};
pub use whiten::whiten;
