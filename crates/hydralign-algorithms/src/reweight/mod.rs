//! Learning from the policy's own samples by supervised learning: weights or a choice, then the
//! likelihood. One model is needed at a time.

mod awr;
mod best_of_n;
mod linex;
mod rwr;
mod spr;
mod superhf;
mod value_fit;
mod weigh;
mod weighted;

pub use best_of_n::{best_of, kept};
pub(crate) use linex::check_targets;
pub use linex::{Linex, LinexBatch, linex_batch};
pub use spr::token_weights;
pub use superhf::{SuperHf, SuperHfBatch, superhf_batch};
pub use value_fit::{ValueFit, prompt_of, weigh_tokens};
pub use weigh::{Reweighted, Reweighting, Temperature};
pub use weighted::{WeightedSequence, weighted_batch};
