//! SFT, reward modelling, Hydra-SFT and PPO.
//!
//! An algorithm here reads log-probabilities, values and scores by role and never names a
//! model; anything that implements [`Roles`](hydralign_core::Roles) and burn's `Module` can be
//! trained with a [`Learner`].

mod clip;
mod error;
mod hydra_sft;
mod learner;
mod nll;
mod pairwise;
mod ppo;
mod supervised;
mod weights;

pub use clip::clip_global_norm;
pub use error::AlgorithmError;
pub use hydra_sft::{HydraSft, HydraSftConfig, preference_batch};
pub use learner::{Gradients, Learner, OptimizerConfig, StepReport};
pub use nll::{Nll, nll_batch};
pub use pairwise::{Pairwise, PairwiseConfig, pairwise_loss};
pub use ppo::{
    Experience, Ppo, PpoBatch, PpoConfig, PpoObjective, Sample, UpdateReport, policy_loss,
    value_loss,
};
pub use supervised::{Epochs, train_minibatches};
pub use weights::{PairWeights, TokenWeights};
