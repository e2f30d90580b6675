use crate::TrainError;
use hydralign_algorithms::AlgorithmError;
use hydralign_core::random::{in_rounds, sub_seed};
use hydralign_core::{Decoder, Episode, Finish, Reward, Role};
use hydralign_rollout::{
    Engine, GenerationConfig, Generator, Monitor, Progress, Prompt, RolloutError, SamplerConfig,
    sample_prompts,
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

    /// The prompts of a round, from 0: their places in the list of prompts.
    pub fn prompts_of(&self, round: usize) -> Vec<usize> {
        let first = round * self.prompts_per_round;
        let seed = sub_seed(self.seed, "prompts");
        in_rounds(self.prompts.len(), seed, first, self.prompts_per_round)
    }

    /// The actor's responses to the first prompts of a round, given by their places, those to one prompt beside
    /// each other.
    ///
    /// # Errors
    /// [`TrainError::Stopped`]; [`TrainError::EmptyResponses`] if each is a stop token alone; what sampling reports.
    pub fn draw<M: Decoder>(
        &self,
        model: &M,
        round: usize,
        prompts: &[usize],
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        self.draw_for(model, round, prompts, None, stop)
    }

    /// As [`Sampling::draw`]; the reward that will score the episodes is told of each as soon as it has ended.
    ///
    /// # Errors
    /// As [`Sampling::draw`].
    pub fn draw_for<M: Decoder>(
        &self,
        model: &M,
        round: usize,
        prompts: &[usize],
        reward: Option<&dyn Reward>,
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let episodes = self.respond(model, round, prompts, reward, stop)?;
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
        prompts: &[usize],
        reward: Option<&dyn Reward>,
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let first = (round * self.prompts_per_round * self.samples) as u64;
        let asked = self.asked(prompts, self.samples, sub_seed(self.seed, "rollout"), first);
        self.generate(model, &asked, &self.sampler, &mut Watch { stop, reward })
    }

    /// The actor's most likely response to each prompt, given by its place.
    ///
    /// # Errors
    /// As [`Sampling::draw`].
    pub fn greedy<M: Decoder>(
        &self,
        model: &M,
        prompts: &[usize],
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let asked = self.asked(prompts, 1, self.seed, 0);
        let mut watch = Watch { stop, reward: None };
        self.generate(model, &asked, &SamplerConfig::greedy(), &mut watch)
    }

    fn asked(&self, prompts: &[usize], samples: usize, seed: u64, first: u64) -> Vec<Prompt> {
        let tokens: Vec<_> = prompts.iter().map(|&row| self.prompts[row].clone()).collect();
        let mut asked = sample_prompts(&tokens, samples, seed, first);
        let rows = prompts.iter().flat_map(|&row| std::iter::repeat_n(row, samples));
        asked.iter_mut().zip(rows).for_each(|(prompt, row)| prompt.row = Some(row));
        asked
    }

    fn generate<M: Decoder>(
        &self,
        model: &M,
        prompts: &[Prompt],
        sampler: &SamplerConfig,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Episode>, TrainError> {
        let sampler = sampler.build()?;
        let engine = Engine::new(model, Role::Actor, &sampler, &self.generation)?;
        engine.generate(prompts, watch).map_err(|error| match error {
            RolloutError::Cancelled { .. } => TrainError::Stopped,
            other => other.into(),
        })
    }
}

/// Ends a generation when the run is stopped, and tells a reward what has ended.
struct Watch<'a> {
    stop: &'a StopFlag,
    reward: Option<&'a dyn Reward>,
}

impl Monitor for Watch<'_> {
    fn step(&mut self, _: &Progress) -> ControlFlow<()> {
        match self.stop.is_stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn finished(&mut self, _: usize, episode: &Episode) {
        if let Some(reward) = self.reward {
            reward.finished(episode);
        }
    }
}
