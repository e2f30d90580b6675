use crate::TrainError;
use hydralign_algorithms::{Learner, LearnerRecord};
use hydralign_core::Differentiable;

/// What a recipe changes: a model with its optimizer, or a policy between two of its successors.
///
/// A clone is what it was when a guard undoes a step.
pub trait Trainable: Clone {
    /// Optimizer steps so far.
    fn steps(&self) -> usize;

    /// Copies what decides the steps to come.
    ///
    /// # Errors
    /// What cannot be written down.
    fn to_record(&self) -> Result<LearnerRecord, TrainError>;

    /// What the record was made of, in the place of what was built in the same way.
    ///
    /// # Errors
    /// A record of something else.
    fn with_record(self, record: LearnerRecord) -> Result<Self, TrainError>;
}

impl<M: Differentiable> Trainable for Learner<M> {
    fn steps(&self) -> usize {
        Learner::steps(self)
    }

    fn to_record(&self) -> Result<LearnerRecord, TrainError> {
        Ok(Learner::to_record(self)?)
    }

    fn with_record(self, record: LearnerRecord) -> Result<Self, TrainError> {
        Ok(Learner::with_record(self, record)?)
    }
}
