use crate::work::{learnt, read, sampled};
use crate::{Context, PpoHooks, Recipe, Rows, Sampling, TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{
    AlgorithmError, Experience, Learner, Ppo, PpoConfig, PpoParts, PpoState,
};
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
    /// A KL controller and an estimator of advantages in the place of those that the settings describe.
    pub parts: PpoParts,
    /// Where batches are made.
    pub device: Device,
}

impl<'a> PpoRecipe<'a> {
    /// PPO with default settings and a rate of 1e-4 that falls to 0; the score is that of the model's reward head.
    pub fn new(sampling: Sampling<'a>, steps: usize, device: &Device) -> Self {
        let (ppo, lr) = (PpoConfig::default(), Schedule::linear(1e-4));
        let parts = PpoParts::default();
        Self { ppo, sampling, reward: None, steps, lr, parts, device: device.clone() }
    }
}

impl<M: Differentiable + Decoder> Recipe<Learner<M>> for PpoRecipe<'_> {
    type State = PpoState;

    fn begin(&self) -> Result<(usize, PpoState), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        match self.steps {
            0 => Err(AlgorithmError::Empty { what: "steps" }.into()),
            steps => Ok((steps, Ppo::with_parts(self.ppo.clone(), &self.parts)?.state())),
        }
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<M>,
        state: &mut PpoState,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        self.step_with(step, learner, state, context, &mut ())
    }
}

impl PpoRecipe<'_> {
    /// A step with something that looks on.
    pub(crate) fn step_with<M: Differentiable + Decoder>(
        &self,
        step: usize,
        learner: &mut Learner<M>,
        state: &mut PpoState,
        context: &mut Context<'_>,
        hooks: &mut dyn PpoHooks<M>,
    ) -> Result<Values, TrainError> {
        let mut ppo = Ppo::with_parts(self.ppo.clone(), &self.parts)?;
        ppo.resume(*state);
        let mut sampling = self.sampling.clone();
        carry_out(hooks.rows(), &mut ppo, &mut sampling)?;
        context.observer.phase(Phase::Generate);
        let prompts = sampling.prompts_of(step - 1);
        let (model, reward) = (learner.model(), self.reward);
        let episodes = sampling.draw_for(model, step - 1, &prompts, reward, context.stop)?;
        let rollout = RolloutStats::of(&episodes);
        let rows = sampled(&episodes, context.observer);
        hooks.phase_ended(Phase::Generate, learner)?;
        carry_out(hooks.rows(), &mut ppo, &mut sampling)?;
        // The reference predicts; the critic does not, nor does the reward where the model has it.
        read(&rows, true, 1, context.observer);
        read(&rows, false, 1 + usize::from(self.reward.is_none()), context.observer);
        let sampler = &self.sampling.sampler;
        let (model, reward) = (learner.model(), self.reward);
        let experience = ppo.experience(model, episodes, sampler, reward, context.observer)?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        hooks.phase_ended(Phase::Score, learner)?;
        carry_out(hooks.rows(), &mut ppo, &mut sampling)?;
        let own = hooks.scored(&experience)?;
        let lr = context.lr_scale * self.lr.lr(step, self.steps);
        let seed = sub_seed(self.sampling.seed, &format!("ppo update {step}"));
        learnt(&rows, true, self.ppo.epochs, context.observer);
        learnt(&rows, false, self.ppo.epochs, context.observer);
        let report = ppo.update(learner, &experience, lr, seed, &self.device, context.observer)?;
        hooks.phase_ended(Phase::Update, learner)?;
        context.observer.phase(Phase::Report);
        *state = ppo.state();
        let mut values = values(&experience, rollout.as_ref(), lr);
        values.splice(1..1, own);
        values.push(("update_steps".into(), report.steps as f64));
        values.extend(report.stats.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        drop(experience);
        hooks.phase_ended(Phase::Report, learner)?;
        Ok(values)
    }
}

fn carry_out(
    rows: Option<Rows>,
    ppo: &mut Ppo,
    sampling: &mut Sampling<'_>,
) -> Result<(), TrainError> {
    if let Some(rows) = rows {
        sampling.generation.batch_size = rows.generate;
        ppo.set_rows(rows.score, rows.micro_batch)?;
    }
    Ok(())
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
