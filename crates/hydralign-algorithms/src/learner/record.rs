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
    /// Optimizer steps taken.
    pub steps: usize,
}

impl<M: Differentiable> Learner<M> {
    /// Copies what is needed to go on later.
    ///
    /// # Errors
    /// [`AlgorithmError::Record`] for what burn cannot write down.
    pub fn to_record(&self) -> Result<LearnerRecord, AlgorithmError> {
        let changing = ParamGroup::from_ids(changing(self.model()));
        Ok(LearnerRecord {
            weights: self.model().clone().into_record_group(changing).into_bytes()?,
            optimizer: self.optimizer.into_bytes()?,
            steps: self.steps,
        })
    }

    /// The learner that the record was made of. This one's model must have been built as that one's was.
    ///
    /// # Errors
    /// [`AlgorithmError::Record`] if a trained weight is missing, has another shape or is unknown here, or if
    /// the optimizer's state is not complete.
    pub fn with_record(self, record: LearnerRecord) -> Result<Self, AlgorithmError> {
        let Self { model, config, .. } = self;
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
        let fresh = Self::new(model, &config);
        let optimizer = fresh.optimizer.load_record(state);
        // burn begins anew where it cannot make sense of a state: no step may begin with half of one.
        let found = optimizer.to_record().len();
        if expected != found {
            let reason = format!("{found} optimizer tensors can be read of {expected}");
            return Err(AlgorithmError::Record { reason });
        }
        Ok(Self { model: fresh.model, optimizer, config, steps: record.steps })
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
