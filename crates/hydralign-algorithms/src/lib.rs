#![doc = include_str!("../README.md")]

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
pub use hydra_sft::{HydraSft, HydraSftConfig, JointWeights, preference_batch};
pub use learner::{Gradients, Learner, OptimizerConfig, StepReport};
pub use nll::{Nll, nll_batch};
pub use pairwise::{Pairwise, PairwiseConfig, pairwise_loss};
pub use ppo::{
    Experience, Ppo, PpoBatch, PpoConfig, PpoObjective, Sample, UpdateReport, policy_loss,
    value_loss,
};
pub use supervised::{Epochs, train_minibatches};
pub use weights::{PairWeights, TokenWeights};
