use crate::{TrainError, Trainable};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use hydralign_algorithms::{AlgorithmError, Learner, LearnerRecord, OptimizerConfig};
use hydralign_core::Role;
use hydralign_models::{Checkpoint, ModelBank, Start, Trunk};
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

/// What is written down.
#[derive(Module, Debug)]
struct Weights {
    policy: Trunk,
    values: Vec<ModelBank>,
}

fn placement() -> Placement {
    Placement::policy("policy", false, false)
}

impl Policy {
    /// The policy that a run starts from.
    ///
    /// # Errors
    /// [`ModelError`](hydralign_models::ModelError) for a checkpoint with an adapter: it must be merged first.
    pub fn new(model: Checkpoint) -> Result<Self, TrainError> {
        // Refused here as it would be where the first learner is built.
        ModelBank::new(&placement(), &Start::joint(&model), &LoraShape::default(), 0)?;
        Ok(Self { model: Some(model), values: Vec::new(), steps: 0 })
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
        let start = Start::joint(self.model());
        let bank = ModelBank::new(&placement(), &start, &LoraShape::default(), 0)?;
        let mut learner = Learner::new(bank.with_execution(execution)?, optimizer);
        let reward_head = self.model.take().and_then(|model| model.reward_head);
        let learnt = learn(&mut learner);
        self.steps += learner.steps();
        let model = learner.into_model().checkpoint(Role::Actor)?;
        self.model = Some(Checkpoint { reward_head, ..model });
        learnt
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
        let weights = Weights { policy: self.model().trunk.clone(), values: self.values.clone() };
        let weights = weights.into_record().into_bytes().map_err(AlgorithmError::from)?;
        let optimizer = Bytes::from_bytes_vec(Vec::new());
        Ok(LearnerRecord { weights, optimizer, steps: self.steps })
    }

    fn with_record(mut self, record: LearnerRecord) -> Result<Self, TrainError> {
        let written = ModuleRecord::from_bytes(record.weights).map_err(AlgorithmError::from)?;
        let weights = Weights { policy: self.model().trunk.clone(), values: self.values };
        let weights = weights.try_load_record(written).map_err(AlgorithmError::from)?;
        (self.model, self.values) =
            (self.model.map(|model| Checkpoint { trunk: weights.policy, ..model }), weights.values);
        Ok(Self { steps: record.steps, ..self })
    }
}
