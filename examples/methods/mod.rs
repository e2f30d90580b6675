//! Methods of alignment as recipes: what a round of each samples, scores and learns. The comparison
//! and the small programs beside it run the same ones.

mod best_of_n;
mod catalogue;
mod controlled;
mod ilql;
mod kto;
mod online_dpo;
mod policy_gradient;
mod ppo;
mod preference;
mod reweight;
mod sft;
mod spin;

pub use best_of_n::BestOfN;
pub use catalogue::{Settings, build, known};
pub use controlled::{Control, ControlledMethod};
pub use ilql::IlqlMethod;
pub use kto::KtoMethod;
pub use online_dpo::OnlineDpo;
pub use policy_gradient::GroupMethod;
pub use ppo::PpoMethod;
pub use preference::PairMethod;
pub use reweight::{ReweightMethod, Rule};
pub use sft::SftMethod;
pub use spin::SpinMethod;

use crate::lab::Lab;
use anyhow::Result;
use hydralign::prelude::*;
use hydralign::runs::Schedule;

/// What a round has cost and shown.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Tokens that the policy has sampled to learn from.
    pub sampled_tokens: usize,
    /// Floating-point operations of sampling, scoring and learning.
    pub flops: f64,
    /// Named numbers for the log.
    pub stats: Vec<(String, f64)>,
}

/// Where in a run a round is.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The round, from 0.
    pub round: usize,
    /// Rounds that the run is expected to take: over these the learning rate falls.
    pub rounds: usize,
}

impl Turn {
    /// The learning rate of this round.
    pub fn lr(&self, schedule: &Schedule) -> f64 {
        schedule.lr((self.round + 1).min(self.rounds), self.rounds)
    }
}

/// A way of making a policy better, round by round.
pub trait Method {
    /// Samples, scores and learns once, telling the observer of its phases.
    ///
    /// # Errors
    /// What the phases report; the policy then is the last good one.
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round>;

    /// Responses of the policy as it is now.
    ///
    /// # Errors
    /// What sampling reports.
    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>>;

    /// An upper bound on the KL from the fine-tuned model, nats per response, where the responses are
    /// chosen among samples: their log-probabilities then say nothing of the choice.
    fn known_kl(&self, _episodes: &[Episode]) -> Option<f64> {
        None
    }
}

/// Tokens of all responses.
pub(crate) fn tokens(episodes: &[Episode]) -> usize {
    episodes.iter().map(|e| e.response.len()).sum()
}

/// Episodes of the same prompt, which lie next to each other, as groups.
pub(crate) fn grouped<T: Clone>(items: &[T], size: usize) -> Vec<Vec<T>> {
    items.chunks(size.max(1)).map(<[T]>::to_vec).collect()
}

/// Prompt and response of each episode.
pub(crate) fn sequences(episodes: &[Episode]) -> Vec<Sequence> {
    episodes.iter().map(Sequence::from).collect()
}

pub(crate) fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64
}
