#![doc = include_str!("../README.md")]

mod calibrate;

pub use burn;
pub use calibrate::{CalibrationError, calibrate};
pub use hydralign_advantage as advantage;
pub use hydralign_algorithms as algorithms;
pub use hydralign_core as core;
pub use hydralign_data as data;
pub use hydralign_families as families;
pub use hydralign_kernels as kernels;
pub use hydralign_memory as memory;
pub use hydralign_models as models;
pub use hydralign_placement as placement;
pub use hydralign_report as report;
pub use hydralign_rewards as rewards;
pub use hydralign_rollout as rollout;
pub use hydralign_runs as runs;
pub use hydralign_train as train;

/// What most programs need.
pub mod prelude {
    pub use crate::algorithms::{
        CriticFree, CriticFreeConfig, Dpo, HydraSft, Learner, Nll, OptimizerConfig, Pair, PairLoss,
        Ppo, PpoConfig, Preference, Reweighting,
    };
    pub use crate::core::{
        Episode, Observer, Phase, Reading, Request, Reward, Role, Roles, Sequence, Stats,
        TokenBatch, episode_fn, phase_fn, stats_fn,
    };
    pub use crate::data::TextTokenizer;
    pub use crate::models::{Checkpoint, ModelBank, Start, load_checkpoint, save_adapter};
    pub use crate::placement::{Execution, LoraShape, ModelShape, Parts, Placement, Target};
    pub use crate::rewards::{concurrently, reward_fn, row_reward_fn};
    pub use crate::rollout::{Engine, GenerationConfig, Generator, Prompt, SamplerConfig};
    pub use crate::runs::{Schedule, StopFlag};
    pub use crate::train::{
        BestBy, Checkpoints, CriticFreeRecipe, Evaluate, Guards, HeldOutPrompts, HeldOutRows,
        ModelFolder, OneModelRecipe, OnlineDpoRecipe, Policy, PpoRecipe, PpoRun, PreferenceRun,
        Recipe, Sampling, SpinRecipe, Supervised, Trainer, Weighing,
    };
    pub use burn::tensor::Device;
}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/placements.md")]
struct PlacementsGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/checkpoints.md")]
struct CheckpointsGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/data.md")]
struct DataGuide;
