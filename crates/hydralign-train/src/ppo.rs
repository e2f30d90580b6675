use crate::{Context, Recipe, TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{AlgorithmError, Experience, Learner, Ppo, PpoConfig, PpoState};
use hydralign_core::random::{in_rounds, sub_seed};
use hydralign_core::{Decoder, Differentiable, Episode, Phase, Reward, Role};
use hydralign_rollout::{
    Engine, GenerationConfig, Generator, Progress, RolloutError, RolloutStats, SamplerConfig,
    sample_prompts,
};
use hydralign_runs::{Schedule, StopFlag};
use std::ops::ControlFlow;

/// PPO in any placement: sample, score, credit, update.
///
/// The prompts are gone through in a new order each time round. Every random number follows from the seed and
/// the iteration's number.
#[derive(Clone)]
pub struct PpoRecipe<'a> {
    /// Settings of PPO.
    pub ppo: PpoConfig,
    /// Prompts to learn from.
    pub prompts: &'a [Vec<u32>],
    /// Prompts of an iteration.
    pub prompts_per_step: usize,
    /// Responses to each of them.
    pub samples: usize,
    /// How responses are drawn.
    pub sampler: SamplerConfig,
    /// Length limit, stop tokens, rows at a time.
    pub generation: GenerationConfig,
    /// The score of an episode; none takes it from the model's reward head.
    pub reward: Option<&'a dyn Reward>,
    /// Iterations.
    pub steps: usize,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// Where batches are made.
    pub device: Device,
}

impl<M: Differentiable + Decoder> Recipe<M> for PpoRecipe<'_> {
    type State = PpoState;

    fn begin(&self) -> Result<(usize, PpoState), TrainError> {
        self.lr.validate()?;
        self.generation.validate()?;
        self.sampler.validate()?;
        let counts = [
            ("prompts", self.prompts.len()),
            ("prompts_per_step", self.prompts_per_step),
            ("samples", self.samples),
            ("steps", self.steps),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(AlgorithmError::Empty { what }.into()),
            None => Ok((self.steps, Ppo::new(self.ppo.clone())?.state())),
        }
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<M>,
        state: &mut PpoState,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        let mut ppo = Ppo::new(self.ppo.clone())?;
        ppo.resume(*state);
        context.observer.phase(Phase::Generate);
        let episodes = self.sample(step, learner.model(), context.stop)?;
        let rollout = RolloutStats::of(&episodes);
        let experience = ppo.experience(
            learner.model(),
            episodes,
            &self.sampler,
            self.reward,
            context.observer,
        )?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        let lr = self.lr.lr(step, self.steps);
        let seed = sub_seed(self.seed, &format!("ppo update {step}"));
        let report = ppo.update(learner, &experience, lr, seed, &self.device, context.observer)?;
        context.observer.phase(Phase::Report);
        *state = ppo.state();
        let mut values = values(&experience, rollout.as_ref(), lr);
        values.push(("update_steps".into(), report.steps as f64));
        values.extend(report.stats.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        Ok(values)
    }
}

impl PpoRecipe<'_> {
    fn sample<M: Decoder>(
        &self,
        step: usize,
        model: &M,
        stop: &StopFlag,
    ) -> Result<Vec<Episode>, TrainError> {
        let first = (step - 1) * self.prompts_per_step;
        let seed = sub_seed(self.seed, "prompts");
        let picked = in_rounds(self.prompts.len(), seed, first, self.prompts_per_step);
        let prompts: Vec<Vec<u32>> = picked.into_iter().map(|i| self.prompts[i].clone()).collect();
        let offset = (first * self.samples) as u64;
        let seed = sub_seed(self.seed, "rollout");
        let prompts = sample_prompts(&prompts, self.samples, seed, offset);
        let sampler = self.sampler.build()?;
        let engine = Engine::new(model, Role::Actor, &sampler, &self.generation)?;
        let mut monitor = |_: &Progress| match stop.is_stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        engine.generate(&prompts, &mut monitor).map_err(|error| match error {
            RolloutError::Cancelled { .. } => TrainError::Stopped,
            other => other.into(),
        })
    }
}

fn values(experience: &Experience, rollout: Option<&RolloutStats>, lr: f64) -> Values {
    let mut values = vec![
        ("score", experience.mean(|s| s.score.into())),
        ("kl", experience.mean_kl),
        ("entropy", experience.entropy()),
    ];
    if let Some(rollout) = rollout {
        values.push(("length", rollout.mean_length));
        values.push(("stopped", rollout.stopped_fraction));
    }
    values.extend([("kl_coef", experience.kl_coef), ("lr", lr)]);
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
