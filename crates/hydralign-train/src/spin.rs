use crate::work::sampled;
use crate::{Context, PairUpdate, Policy, Recipe, Sampling, Stateless, TrainError, Values};
use hydralign_algorithms::{AlgorithmError, OptimizerConfig, PairLoss, Preference, spin_pairs};
use hydralign_core::random::{in_rounds, sub_seed};
use hydralign_core::{Phase, Reading, Role, Sequence};
use hydralign_models::ModelError;
use hydralign_placement::Execution;
use hydralign_rollout::{GenerationConfig, SamplerConfig};
use hydralign_runs::Schedule;

/// SPIN, self-play fine-tuning, one model at a time: the policy answers the prompts of demonstrations, and learns to
/// tell the demonstrations from its answers. Opponent and reference of an iteration are the policy of the one
/// before (Chen et al. 2024, alg. 1).
#[derive(Clone)]
pub struct SpinRecipe<'a, L> {
    /// The loss of the pairs.
    pub objective: Preference<L>,
    /// What is to be imitated, gone through in a new order each time round.
    pub demonstrations: &'a [Sequence],
    /// Demonstrations of an iteration.
    pub demonstrations_per_round: usize,
    /// How answers are drawn.
    pub sampler: SamplerConfig,
    /// Length limit, stop tokens, rows at a time.
    pub generation: GenerationConfig,
    /// Seed of the order and of the answers.
    pub seed: u64,
    /// Iterations.
    pub steps: usize,
    /// How the pairs of an iteration are learnt.
    pub update: PairUpdate,
    /// The optimizer, fresh in each iteration.
    pub optimizer: OptimizerConfig,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// How passes are carried out.
    pub execution: Execution,
}

impl<L: PairLoss> Recipe<Policy> for SpinRecipe<'_, L> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        self.generation.validate()?;
        self.sampler.validate()?;
        self.update.validate()?;
        self.optimizer.validate()?;
        self.execution.validate().map_err(ModelError::from)?;
        let counts = [
            ("steps", self.steps),
            ("demonstrations", self.demonstrations.len()),
            ("demonstrations_per_round", self.demonstrations_per_round),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(AlgorithmError::Empty { what }.into()),
            None => Ok((self.steps, Stateless {})),
        }
    }

    fn step(
        &self,
        step: usize,
        policy: &mut Policy,
        _: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        let observer = &mut *context.observer;
        observer.phase(Phase::Generate);
        let real = self.demonstrations_of(step - 1);
        let questions: Vec<Vec<u32>> = real.iter().map(|s| s.prompt.clone()).collect();
        let opponent = policy.bank(self.execution)?;
        let answers = self.sampling(&questions).draw(
            &opponent,
            step - 1,
            &(0..questions.len()).collect::<Vec<_>>(),
            context.stop,
        )?;
        sampled(&answers, observer);
        observer.phase(Phase::Score);
        let pairs = spin_pairs(&real, &answers);
        let reference = (&opponent, Reading::Logprobs(Role::Actor));
        let pairs = self.update.referred(&self.objective, reference, pairs, observer)?;
        drop(opponent);
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        observer.phase(Phase::Update);
        let lr = context.lr_scale * self.lr.lr(step, self.steps);
        let learnt = policy.learn(&self.optimizer, self.execution, |learner| {
            let device = learner.model().device();
            self.update.learn(learner, &self.objective, (&pairs, lr), &device, observer)
        })?;
        observer.phase(Phase::Report);
        let own = [("pairs", pairs.len() as f64), ("lr", lr)];
        Ok(own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(learnt).collect())
    }
}

impl<L> SpinRecipe<'_, L> {
    fn demonstrations_of(&self, round: usize) -> Vec<Sequence> {
        let (all, count) = (self.demonstrations, self.demonstrations_per_round);
        let picked = in_rounds(all.len(), sub_seed(self.seed, "spin"), round * count, count);
        picked.into_iter().map(|i| all[i].clone()).collect()
    }

    /// How answers are drawn to the prompts of some demonstrations.
    fn sampling<'q>(&self, prompts: &'q [Vec<u32>]) -> Sampling<'q> {
        let Self { demonstrations_per_round: prompts_per_round, sampler, seed, .. } = *self;
        let generation = self.generation.clone();
        Sampling { prompts, prompts_per_round, samples: 1, sampler, generation, seed }
    }
}
