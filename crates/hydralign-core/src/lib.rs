//! Episodes, token batches and the traits that models and algorithms meet at.
//!
//! Algorithms read [`Outputs`] by role and never see a model; models answer [`Request`]s and
//! never see an algorithm. Everything per token is *packed*: the real response tokens of a
//! batch follow each other in one `[tokens]` vector, so that no objective needs a mask and no
//! padding value can leak into a statistic.

mod batch;
mod decoder;
mod episode;
mod error;
mod objective;
mod observer;
pub mod random;
mod reading;
mod reward;
mod roles;

pub use batch::{Sequence, TokenBatch};
pub use decoder::Decoder;
pub use episode::{Episode, Finish};
pub use error::CoreError;
pub use objective::{Loss, Objective};
pub use observer::{Observer, Observers, Phase, Stats};
pub use reading::{Gradient, Outputs, Reading, Request};
pub use reward::Reward;
pub use roles::Roles;

pub use hydralign_placement::Role;
