//! Learning from pairs of responses without a reward model: one objective, and one file for each
//! loss over it.

mod batch;
mod cpo;
mod dpo;
mod hinge;
mod ipo;
mod kto;
mod loss;
mod online;
mod orpo;
mod reference;
mod simpo;
mod spin;

pub use batch::{Pair, PairBatch, pair_batch};
pub use cpo::Cpo;
pub use dpo::Dpo;
pub use hinge::Hinge;
pub use ipo::Ipo;
pub use kto::{Kto, KtoBatch, KtoExample, LabelBalance, kto_baseline, kto_batch};
pub use loss::{PairLoss, Preference, Side};
pub use online::ranked_pairs;
pub use orpo::Orpo;
pub use reference::{reference_logprobs, sequences_fingerprint, sequences_of, with_reference};
pub use simpo::SimPo;
pub use spin::spin_pairs;
