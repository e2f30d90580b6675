use crate::work::{learnt, read, sampled};
use crate::{Context, Recipe, Sampling, TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{AlgorithmError, Experience, Learner, Ppo, PpoConfig, PpoState};
use hydralign_core::random::sub_seed;
use hydralign_core::{Decoder, Differentiable, Phase, Reward};
use hydralign_rollout::RolloutStats;
use hydralign_runs::Schedule;

/// PPO in any placement: sample, score, credit, update.
#[derive(Clone)]
pub struct PpoRecipe<'a> {
    /// Settings of PPO.
    pub ppo: PpoConfig,
    /// What responses are drawn to, and how.
    pub sampling: Sampling<'a>,
    /// The score of an episode; none takes it from the model's reward head.
    pub reward: Option<&'a dyn Reward>,
    /// Iterations.
    pub steps: usize,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// Where batches are made.
    pub device: Device,
}

impl<'a> PpoRecipe<'a> {
    /// PPO with default settings and a rate of 1e-4 that falls to 0; the score is that of the model's reward head.
    pub fn new(sampling: Sampling<'a>, steps: usize, device: &Device) -> Self {
        let (ppo, lr) = (PpoConfig::default(), Schedule::linear(1e-4));
        Self { ppo, sampling, reward: None, steps, lr, device: device.clone() }
    }
}

impl<M: Differentiable + Decoder> Recipe<Learner<M>> for PpoRecipe<'_> {
    type State = PpoState;

    fn begin(&self) -> Result<(usize, PpoState), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        match self.steps {
            0 => Err(AlgorithmError::Empty { what: "steps" }.into()),
            steps => Ok((steps, Ppo::new(self.ppo.clone())?.state())),
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
        let prompts = self.sampling.prompts_of(step - 1);
        let model = learner.model();
        let episodes = self.sampling.draw(model, step - 1, &prompts, context.stop)?;
        let rollout = RolloutStats::of(&episodes);
        let rows = sampled(&episodes, context.observer);
        // The reference predicts; the critic does not, nor does the reward where the model has it.
        read(&rows, true, 1, context.observer);
        read(&rows, false, 1 + usize::from(self.reward.is_none()), context.observer);
        let experience = ppo.experience(
            learner.model(),
            episodes,
            &self.sampling.sampler,
            self.reward,
            context.observer,
        )?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        let lr = self.lr.lr(step, self.steps);
        let seed = sub_seed(self.sampling.seed, &format!("ppo update {step}"));
        learnt(&rows, true, self.ppo.epochs, context.observer);
        learnt(&rows, false, self.ppo.epochs, context.observer);
        let report = ppo.update(learner, &experience, lr, seed, &self.device, context.observer)?;
        context.observer.phase(Phase::Report);
        *state = ppo.state();
        let mut values = values(&experience, rollout.as_ref(), lr);
        values.push(("update_steps".into(), report.steps as f64));
        values.extend(report.stats.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        Ok(values)
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
