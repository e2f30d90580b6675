use crate::{TrainError, Trainable};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use hydralign_algorithms::{AlgorithmError, Learner, LearnerRecord, OptimizerConfig};
use hydralign_core::Role;
use hydralign_models::{Adapter, Checkpoint, ModelBank, ModelError, Start, Trunk};
use hydralign_placement::{Execution, LoraShape, Placement};

/// Makes a model when it is asked for, so that it is not held while another learns.
pub type Load<'a> = &'a dyn Fn() -> Result<Checkpoint, TrainError>;

/// A policy between two iterations, and the value models that its recipe keeps beside it.
#[derive(Clone, Debug)]
pub struct Policy {
    // Given up while a learner makes the next one, so that it is not held beside it.
    model: Option<Checkpoint>,
    values: Vec<ModelBank>,
    steps: usize,
}

/// What is written down: of a policy with an adapter the adapter.
#[derive(Module, Debug)]
struct Weights {
    policy: Option<Trunk>,
    adapter: Option<Adapter>,
    values: Vec<ModelBank>,
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

impl Policy {
    /// The policy that a run starts from. Of one with an adapter the adapter is trained, of one without all
    /// weights.
    ///
    /// # Errors
    /// [`ModelError`] for an adapter that is not of this model.
    pub fn new(model: Checkpoint) -> Result<Self, TrainError> {
        // Refused here as it would be where the first learner is built.
        learner_bank(&model)?;
        Ok(Self { model: Some(model), values: Vec::new(), steps: 0 })
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

    /// The same with value models that start from a reward model: as many as the weighing fits.
    ///
    /// # Errors
    /// A checkpoint without a reward head, or with an adapter.
    pub fn with_values(mut self, start: &Checkpoint, count: usize) -> Result<Self, TrainError> {
        let start = Start::joint(start);
        let value = || ModelBank::new(&Placement::value_model(), &start, &LoraShape::default(), 0);
        self.values = (0..count).map(|_| value()).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The model.
    pub fn model(&self) -> &Checkpoint {
        self.model.as_ref().expect("the model is only away while it learns")
    }

    /// The model, to be read and sampled from.
    pub(crate) fn bank(&self, execution: Execution) -> Result<ModelBank, TrainError> {
        Ok(ModelBank::frozen(self.model().clone()).with_execution(execution)?)
    }

    /// The next policy by a learner that lives for this call: also where it fails, that of the last good step.
    pub(crate) fn learn<R>(
        &mut self,
        optimizer: &OptimizerConfig,
        execution: Execution,
        learn: impl FnOnce(&mut Learner<ModelBank>) -> Result<R, TrainError>,
    ) -> Result<R, TrainError> {
        let bank = learner_bank(self.model())?;
        let mut learner = Learner::new(bank.with_execution(execution)?, optimizer);
        let reward_head = self.model.take().and_then(|model| model.reward_head);
        let learnt = learn(&mut learner);
        self.steps += learner.steps();
        let model = learner.into_model().checkpoint(Role::Actor)?;
        self.model = Some(Checkpoint { reward_head, ..model });
        learnt
    }

    fn weights(&self) -> Weights {
        let Checkpoint { trunk, adapter, .. } = self.model();
        let policy = adapter.is_none().then(|| trunk.clone());
        Weights { policy, adapter: adapter.clone(), values: self.values.clone() }
    }

    /// Lets a value model learn; it is kept also where that fails.
    pub(crate) fn fit<R>(
        &mut self,
        value: usize,
        optimizer: &OptimizerConfig,
        fit: impl FnOnce(&mut Learner<ModelBank>) -> Result<R, AlgorithmError>,
    ) -> Result<R, TrainError> {
        if value >= self.values.len() {
            return Err(AlgorithmError::Empty { what: "value model of the policy" }.into());
        }
        let mut learner = Learner::new(self.values.remove(value), optimizer);
        let fitted = fit(&mut learner);
        self.steps += learner.steps();
        self.values.insert(value, learner.into_model());
        Ok(fitted?)
    }
}

impl Trainable for Policy {
    fn steps(&self) -> usize {
        self.steps
    }

    fn to_record(&self) -> Result<LearnerRecord, TrainError> {
        let weights = self.weights().into_record().into_bytes().map_err(AlgorithmError::from)?;
        let optimizer = Bytes::from_bytes_vec(Vec::new());
        let optimizer_name = "none".to_owned();
        Ok(LearnerRecord { weights, optimizer, optimizer_name, steps: self.steps })
    }

    fn with_record(mut self, record: LearnerRecord) -> Result<Self, TrainError> {
        let written = ModuleRecord::from_bytes(record.weights).map_err(AlgorithmError::from)?;
        let weights = self.weights().try_load_record(written).map_err(AlgorithmError::from)?;
        self.model = self.model.map(|model| Checkpoint {
            trunk: weights.policy.unwrap_or(model.trunk),
            adapter: weights.adapter,
            ..model
        });
        Ok(Self { values: weights.values, steps: record.steps, ..self })
    }
}
