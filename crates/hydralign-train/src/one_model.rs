use crate::{Context, Recipe, Sampling, Stateless, TrainError, Trainable, Values};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use hydralign_algorithms::{
    AlgorithmError, Epochs, Learner, LearnerRecord, Nll, OptimizerConfig, Order, Reweighting,
    WeightedSequence, scores_of, weighted_batch,
};
use hydralign_core::random::sub_seed;
use hydralign_core::{Episode, Phase, Reward, Role, Sequence};
use hydralign_models::{Checkpoint, ModelBank, ModelError, Start};
use hydralign_placement::{Execution, LoraShape, Placement};
use hydralign_runs::Schedule;

/// A policy that learns its own weighted responses, one model at a time: it samples, a reward scores, the
/// responses are weighed, and a learner that lives for this iteration makes the next policy (SPR, AWR, RWR).
#[derive(Clone)]
pub struct OneModelRecipe<'a> {
    /// How scores become weights.
    pub method: Reweighting,
    /// What responses are drawn to, and how.
    pub sampling: Sampling<'a>,
    /// The score of an episode. What it holds may be built when it is asked and dropped when it has answered.
    pub reward: &'a dyn Reward,
    /// Iterations.
    pub steps: usize,
    /// Passes over the weighted responses of an iteration.
    pub epochs: usize,
    /// Responses of an optimizer step.
    pub minibatch: usize,
    /// Responses that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// The optimizer, fresh in each iteration.
    pub optimizer: OptimizerConfig,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// How passes are carried out.
    pub execution: Execution,
}

/// A policy between two iterations.
#[derive(Clone, Debug)]
pub struct Policy {
    model: Checkpoint,
    steps: usize,
}

impl Policy {
    /// The policy that a run starts from. Of one with an adapter the adapter is trained, of one without all
    /// weights.
    ///
    /// # Errors
    /// [`ModelError`] for an adapter that is not of this model.
    pub fn new(model: Checkpoint) -> Result<Self, TrainError> {
        // Refused here as it would be where the first learner is built.
        learner_bank(&model)?;
        Ok(Self { model, steps: 0 })
    }

    /// The same with a fresh adapter, which changes nothing until it is trained.
    ///
    /// # Errors
    /// [`ModelError`] for a checkpoint that has an adapter.
    pub fn with_adapter(
        model: Checkpoint,
        lora: &LoraShape,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let placement = placement().with_adapter(ADAPTER);
        let bank = ModelBank::new(&placement, &Start::joint(&model), lora, seed)?;
        let adapter = bank.checkpoint(Role::Actor)?.adapter;
        Self::new(Checkpoint { adapter, ..model })
    }

    /// The model.
    pub fn model(&self) -> &Checkpoint {
        &self.model
    }
}

impl Trainable for Policy {
    fn steps(&self) -> usize {
        self.steps
    }

    fn to_record(&self) -> Result<LearnerRecord, TrainError> {
        let record = match &self.model.adapter {
            Some(adapter) => adapter.clone().into_record(),
            None => self.model.trunk.clone().into_record(),
        };
        let weights = record.into_bytes().map_err(AlgorithmError::from)?;
        let optimizer = Bytes::from_bytes_vec(Vec::new());
        let optimizer_name = "none".to_owned();
        Ok(LearnerRecord { weights, optimizer, optimizer_name, steps: self.steps })
    }

    fn with_record(self, record: LearnerRecord) -> Result<Self, TrainError> {
        let weights = ModuleRecord::from_bytes(record.weights).map_err(AlgorithmError::from)?;
        let Checkpoint { trunk, adapter, reward_head } = self.model;
        let (trunk, adapter) = match adapter {
            Some(adapter) => (Ok(trunk), Some(adapter.try_load_record(weights)).transpose()),
            None => (trunk.try_load_record(weights), Ok(None)),
        };
        let trunk = trunk.map_err(AlgorithmError::from)?;
        let adapter = adapter.map_err(AlgorithmError::from)?;
        Ok(Self { model: Checkpoint { trunk, adapter, reward_head }, steps: record.steps })
    }
}

/// Name of the adapter that is trained, if one is.
const ADAPTER: &str = "policy";

fn placement() -> Placement {
    Placement::policy("policy", false, false)
}

/// What learns from a policy on.
fn learner_bank(model: &Checkpoint) -> Result<ModelBank, ModelError> {
    let placement = match model.adapter {
        Some(_) => placement().with_adapter(ADAPTER).starting_from_adapter(false)?,
        None => placement(),
    };
    ModelBank::new(&placement, &Start::joint(model), &LoraShape::default(), 0)
}

impl Recipe<Policy> for OneModelRecipe<'_> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        self.optimizer.validate()?;
        self.execution.validate().map_err(ModelError::from)?;
        let counts = [
            ("steps", self.steps),
            ("epochs", self.epochs),
            ("minibatch", self.minibatch),
            ("micro_batch", self.micro_batch),
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
        context.observer.phase(Phase::Generate);
        let prompts = self.sampling.prompts_of(step - 1);
        let bank = ModelBank::frozen(policy.model.clone()).with_execution(self.execution)?;
        let reward = Some(self.reward);
        let episodes = self.sampling.draw_for(&bank, step - 1, &prompts, reward, context.stop)?;
        drop(bank);
        context.observer.phase(Phase::Score);
        let scores = scores_of(self.reward, &episodes)?;
        let samples = self.sampling.samples;
        let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        drop::<Vec<Episode>>(episodes);
        let groups: Vec<Vec<Sequence>> = rows.chunks(samples).map(<[_]>::to_vec).collect();
        let by_group: Vec<Vec<f32>> = scores.chunks(samples).map(<[_]>::to_vec).collect();
        context.observer.phase(Phase::Credit);
        let weighted = self.method.weigh(&groups, &by_group, None)?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        context.observer.phase(Phase::Update);
        let lr = context.lr_scale * self.lr.lr(step, self.steps);
        let loss = self.learn(step, policy, &weighted.rows, lr)?;
        context.observer.phase(Phase::Report);
        let score = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len() as f64;
        let values = [
            ("score", score),
            ("beta", weighted.temperature),
            ("ess", weighted.ess),
            ("clipped", weighted.clipped),
            ("mean_weight", weighted.mean_weight),
            ("loss", loss),
            ("lr", lr),
        ];
        Ok(values.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

impl OneModelRecipe<'_> {
    /// The next policy: also where a step fails, that of the last good one. Returns the mean loss.
    fn learn(
        &self,
        step: usize,
        policy: &mut Policy,
        rows: &[WeightedSequence],
        lr: f64,
    ) -> Result<f64, TrainError> {
        let bank = learner_bank(&policy.model)?;
        let device = bank.device();
        let mut learner = Learner::new(bank.with_execution(self.execution)?, &self.optimizer);
        let seed = sub_seed(self.sampling.seed, &format!("learn {step}"));
        let Self { epochs, minibatch, .. } = *self;
        let order = Epochs { items: rows.len(), minibatch, epochs, seed };
        let mut loss = 0.0;
        let ended = order.minibatches().try_for_each(|items| -> Result<(), TrainError> {
            let part: Vec<WeightedSequence> = items.iter().map(|&i| rows[i].clone()).collect();
            let batch = weighted_batch(&part, self.micro_batch, &device)?;
            loss += learner.step(&Nll, &batch, lr)?.loss;
            Ok(())
        });
        policy.steps += learner.steps();
        let reward_head = policy.model.reward_head.take();
        policy.model = learner.into_model().checkpoint(Role::Actor)?;
        policy.model.reward_head = reward_head;
        ended.map(|()| loss / order.steps() as f64)
    }
}
