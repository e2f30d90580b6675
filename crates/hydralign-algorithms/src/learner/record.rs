use super::Learner;
use crate::AlgorithmError;
use burn::module::{ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::OptimizerRecord;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::{Bytes, Tensor};
use hydralign_core::Differentiable;

/// Everything of a learner that decides its next steps, on the host: with it, and with a model that was
/// built in the same way, another process takes the same steps to the last bit.
///
/// Weights that are not trained are not in it: they are those that the model is built from.
#[derive(Clone, Debug)]
pub struct LearnerRecord {
    /// The weights that are trained, and those that follow them, in burn's format.
    pub weights: Bytes,
    /// The optimizer's moments and counts, in burn's format; empty where none lives from step to step.
    pub optimizer: Bytes,
    /// What the optimizer is called.
    pub optimizer_name: String,
    /// Optimizer steps taken.
    pub steps: usize,
}

impl LearnerRecord {
    /// Bytes of this record.
    pub fn bytes(&self) -> u64 {
        (self.weights.len() + self.optimizer.len()) as u64
    }

    /// Bytes of a record of the same learner when each trained weight has its two moments, but for names and
    /// shapes.
    pub fn largest_bytes(&self) -> u64 {
        let moments = if self.optimizer.is_empty() { 0 } else { 2 * self.weights.len() as u64 };
        self.bytes().max(self.weights.len() as u64 + moments)
    }
}

impl<M: Differentiable> Learner<M> {
    /// Copies what is needed to go on later.
    ///
    /// While it is made, burn holds the part in work twice: at most 4/3 of the copy in all, with two moments
    /// a weight.
    ///
    /// # Errors
    /// [`AlgorithmError::Record`] for what burn cannot write down.
    pub fn to_record(&self) -> Result<LearnerRecord, AlgorithmError> {
        // The larger part first, while there is nothing beside it.
        let optimizer = self.optimizer.into_bytes()?;
        let changing = ParamGroup::from_ids(changing(self.model()));
        let weights = self.model().clone().into_record_group(changing).into_bytes()?;
        let optimizer_name = self.name.clone();
        Ok(LearnerRecord { weights, optimizer, optimizer_name, steps: self.steps })
    }

    /// The learner that the record was made of. This one must have been built as that one was: its model, its
    /// optimizer and its rates. It has taken no steps yet.
    ///
    /// # Errors
    /// [`AlgorithmError::Record`] if the optimizer has another name, if a trained weight is missing, has another shape or is unknown here, or if
    /// the optimizer's state is not complete.
    pub fn with_record(self, record: LearnerRecord) -> Result<Self, AlgorithmError> {
        let Self { model, optimizer, name, config, rates, .. } = self;
        if record.optimizer_name != name {
            let reason =
                format!("it is of the optimizer `{}`, not `{name}`", record.optimizer_name);
            return Err(AlgorithmError::Record { reason });
        }
        let model = model.expect("the model is only away during a step");
        let weights = ModuleRecord::from_bytes(record.weights)?;
        let (expected, found) = (changing(&model).len(), weights.len());
        if expected != found {
            let reason = format!("{found} trained weights, but the model has {expected}");
            return Err(AlgorithmError::Record { reason });
        }
        let model = model.try_load_record(weights.allow_partial(true))?;
        let state = OptimizerRecord::from_bytes(record.optimizer)?;
        let expected = state.len();
        let optimizer = optimizer.load_record(state);
        // burn begins anew where it cannot make sense of a state: no step may begin with half of one.
        let found = optimizer.to_record().len();
        if expected != found {
            let reason = format!("{found} optimizer tensors can be read of {expected}");
            return Err(AlgorithmError::Record { reason });
        }
        Ok(Self { model: Some(model), optimizer, name, config, rates, steps: record.steps })
    }
}

impl From<RecordError> for AlgorithmError {
    fn from(error: RecordError) -> Self {
        Self::Record { reason: error.to_string() }
    }
}

/// The parameters that steps change, and those that follow them.
fn changing<M: Differentiable>(model: &M) -> Vec<ParamId> {
    let mut trained = Trained::default();
    model.visit(&mut trained);
    trained.0.extend(model.followers());
    trained.0
}

#[derive(Default)]
struct Trained(Vec<ParamId>);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.push(param.id);
        }
    }
}
