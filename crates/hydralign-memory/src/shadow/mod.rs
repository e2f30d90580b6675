//! The models run with bytes instead of numbers.
//!
//! Every tensor of a pass is a [`flat::Flat`]: dimensions, strides and a counted buffer. The code of the
//! decoder, the readings, the learner and the engine is gone through operation by operation, in the
//! order and with the ownership of the real one, and each operation allocates, shares, keeps and frees
//! what burn-autodiff and burn-flex 0.22 do. What is live at the highest moment is the prediction, and
//! its parts are the categories.

mod block;
mod cut;
mod decode;
#[cfg(test)]
mod equations;
mod flat;
mod forward;
mod fused;
mod learn;
mod ledger;
mod log_prob;
mod operations;
mod read;
mod store;
mod tape;
mod weights;

pub(crate) use ledger::{Buffer, Ledger, Lines};
pub(crate) use read::{Batch, Model};
pub(crate) use store::Store;
pub(crate) use tape::Tape;
pub(crate) use weights::Bank;
