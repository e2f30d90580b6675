#![doc = include_str!("../README.md")]

mod clip;
mod critic_free;
mod error;
mod evaluate;
mod hydra_sft;
mod learner;
mod nll;
mod pairwise;
mod ppo;
mod preference;
mod readout;
mod reweight;
mod rollout_readings;
mod rows;
mod settings;
mod supervised;
mod updates;
mod value;
mod weights;

pub use clip::clip_global_norm;
pub use critic_free::{
    Aggregation, CreditRule, CriticFree, CriticFreeConfig, DynamicSampling, GroupExperience,
    GroupSample, Informative, KlInLoss, PolicyBatch, PolicyGradient, RatioLevel, ReturnBaseline,
    Surrogate,
};
pub use error::AlgorithmError;
pub use evaluate::{
    Ranking, implied_accuracy, objective_values, perplexity, reward_accuracy, sampled_kl,
    scores as reward_scores,
};
pub use hydra_sft::{HydraSft, HydraSftConfig, JointWeights, preference_batch};
pub use learner::{Gradients, Learner, LearnerRecord, OptimizerConfig, StepReport};
pub use nll::{Nll, nll_batch};
pub use pairwise::{Pairwise, PairwiseConfig, pairwise_loss, ranking_batch};
pub use ppo::{
    Experience, Ppo, PpoBatch, PpoConfig, PpoObjective, PpoParts, PpoState, Sample, policy_loss,
    value_loss,
};
pub use preference::{
    Cpo, Dpo, Hinge, Ipo, Kto, KtoBatch, KtoExample, LabelBalance, Orpo, Pair, PairBatch, PairLoss,
    Preference, Side, SimPo, kto_baseline, kto_batch, pair_batch, ranked_pairs, reference_logprobs,
    sequences_fingerprint, sequences_of, spin_pairs, with_reference,
};
pub use readout::Readout;
pub use reweight::{
    Linex, LinexBatch, Reweighted, Reweighting, SuperHf, SuperHfBatch, Temperature, ValueFit,
    WeightedSequence, best_of, kept, linex_batch, prompt_of, superhf_batch, token_weights,
    weigh_tokens, weighted_batch,
};
pub use rollout_readings::scores_of;
pub use rows::Rows;
pub use supervised::{ComparedEpochs, Cycles, Epochs, Order};
pub use updates::UpdateReport;
pub use value::{
    Ilql, IlqlBatch, IlqlRow, PrefixBatch, PrefixRegression, ilql_batch, prefix_batch,
};
pub use weights::{PairWeights, TokenWeights};
