#![doc = include_str!("../README.md")]

mod answers;
mod columns;
mod concurrent;
mod each;
mod error;
mod exact;
mod format;
#[cfg(feature = "judge")]
pub mod judge;
mod latex;
mod length;
mod matches;
mod number;
mod numeric;
mod pattern;
mod reward_model;
mod scan;
mod text;
mod translation;
mod weighted;

pub use answers::Answers;
pub use columns::{OfRow, row_reward_fn};
pub use concurrent::{Concurrent, concurrently};
pub use error::RewardError;
pub use exact::ExactMatch;
pub use format::Format;
pub use length::LengthReward;
pub use matches::Matches;
pub use number::Number;
pub use numeric::NumericAnswer;
pub use reward_model::{RewardModel, unpadded};
pub use text::{OfText, TextReward, reward_fn};
pub use translation::{Ending, ModelText, Translation};
pub use weighted::WeightedSum;
