//! The methods of the comparison: which recipe of the library a name stands for, and with which settings.

mod catalogue;
mod decoding;
mod on_policy;
mod one_model;
mod rounds;
mod supervised;

pub use catalogue::{Settings, build, known};

use anyhow::Result;
use hydralign::prelude::*;

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
    /// The learning rate of this round, which is that of all its steps.
    pub fn rate(&self, schedule: &Schedule) -> Schedule {
        Schedule::constant(schedule.lr((self.round + 1).min(self.rounds), self.rounds))
    }
}

/// A way of making a policy better, round by round.
pub trait Method {
    /// Samples, scores and learns once, telling the observer of its phases.
    ///
    /// # Errors
    /// What the phases report; the policy then is the last good one.
    fn round(&mut self, turn: Turn, observer: &mut dyn Observer) -> Result<Round>;

    /// Responses of the policy as it is now.
    ///
    /// # Errors
    /// What sampling reports.
    fn respond(&self, prompts: &[Prompt]) -> Result<Vec<Episode>>;

    /// An upper bound on the KL from the fine-tuned model, nats per response, where the responses are
    /// chosen among samples: their log-probabilities then say nothing of the choice.
    fn known_kl(&self, _episodes: &[Episode]) -> Option<f64> {
        None
    }
}
