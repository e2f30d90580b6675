use crate::TrainError;
use hydralign_algorithms::AlgorithmError;
use hydralign_core::random::{in_rounds, sub_seed};
use hydralign_core::{Decoder, Episode, Finish, Role};
use hydralign_rollout::{
    Engine, GenerationConfig, Generator, Progress, RolloutError, SamplerConfig, sample_prompts,
};
use hydralign_runs::StopFlag;
use std::ops::ControlFlow;

/// What a policy's responses are drawn to, and how.
///
/// The prompts are gone through in a new order each time round. Every random number follows from the seed and
/// the round's number.
#[derive(Clone, Debug)]
pub struct Sampling<'a> {
    /// Prompts to learn from.
    pub prompts: &'a [Vec<u32>],
    /// Prompts of a round.
    pub prompts_per_round: usize,
    /// Responses to each of them.
    pub samples: usize,
    /// How responses are drawn.
    pub sampler: SamplerConfig,
    /// Length limit, stop tokens, rows at a time.
    pub generation: GenerationConfig,
    /// Seed of prompts and responses.
    pub seed: u64,
}

impl<'a> Sampling<'a> {
    /// One response to each of 32 prompts a round, from the whole distribution.
    pub fn new(prompts: &'a [Vec<u32>], generation: GenerationConfig) -> Self {
        let sampler = SamplerConfig::default();
        Self { prompts, prompts_per_round: 32, samples: 1, sampler, generation, seed: 0 }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`AlgorithmError::Empty`] names a count of 0; settings out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.generation.validate()?;
        self.sampler.validate()?;
        let counts = [
            ("prompts", self.prompts.len()),
            ("prompts_per_round", self.prompts_per_round),
            ("samples", self.samples),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(AlgorithmError::Empty { what }.into()),
            None => Ok(()),
        }
    }

    /// The prompts of a round, from 0.
    pub fn prompts_of(&self, round: usize) -> Vec<Vec<u32>> {
        let first = round * self.prompts_per_round;
        let seed = sub_seed(self.seed, "prompts");
        let picked = in_rounds(self.prompts.len(), seed, first, self.prompts_per_round);
        picked.into_iter().map(|i| self.prompts[i].clone()).collect()
    }

    /// The actor's responses to prompts of a round, those to one prompt beside each other.
    ///
    /// # Errors
    /// [`TrainError::Stopped`]; [`TrainError::EmptyResponses`] if each is a stop token alone; what sampling reports.
    pub fn draw<M: Decoder>(
        &self,
        model: &M,
        round: usize,
        prompts: &[Vec<u32>],
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let episodes = self.respond(model, round, prompts, stop)?;
        let empty = |e: &Episode| e.response.len() <= 1 && e.finish == Finish::Stop;
        match episodes.iter().all(empty) {
            true => Err(TrainError::EmptyResponses { count: episodes.len() }),
            false => Ok(episodes),
        }
    }

    /// As [`Sampling::draw`], empty or not.
    pub(crate) fn respond<M: Decoder>(
        &self,
        model: &M,
        round: usize,
        prompts: &[Vec<u32>],
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let first = (round * self.prompts_per_round * self.samples) as u64;
        let prompts = sample_prompts(prompts, self.samples, sub_seed(self.seed, "rollout"), first);
        self.generate(model, &prompts, &self.sampler, stop)
    }

    /// The actor's most likely response to each prompt.
    ///
    /// # Errors
    /// As [`Sampling::draw`].
    pub fn greedy<M: Decoder>(
        &self,
        model: &M,
        prompts: &[Vec<u32>],
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let prompts = sample_prompts(prompts, 1, self.seed, 0);
        self.generate(model, &prompts, &SamplerConfig::greedy(), stop)
    }

    fn generate<M: Decoder>(
        &self,
        model: &M,
        prompts: &[hydralign_rollout::Prompt],
        sampler: &SamplerConfig,
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let sampler = sampler.build()?;
        let engine = Engine::new(model, Role::Actor, &sampler, &self.generation)?;
        let mut monitor = |_: &Progress| match stop.is_stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        engine.generate(prompts, &mut monitor).map_err(|error| match error {
            RolloutError::Cancelled { .. } => TrainError::Stopped,
            other => other.into(),
        })
    }
}
