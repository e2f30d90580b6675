use crate::{CoreError, Outputs, Request};
use burn::tensor::Tensor;

/// A scalar to minimise and the statistics that came with it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// `[1]`, differentiable.
    pub value: Tensor<1>,
    /// Named `[1]` numbers that *add up* over micro-batches (their weights are in the batch).
    pub stats: Vec<(&'static str, Tensor<1>)>,
}

/// An algorithm's loss: what it reads, what else its batch carries, and a scalar.
///
/// Losses are written as weighted *sums*: each batch carries its own weights (such as one over
/// the real tokens of the whole minibatch), so that the losses of micro-batches add up to
/// exactly the loss of the minibatch, whatever its split.
pub trait Objective {
    /// What the loss needs beside the readings.
    type Batch;

    /// The readings that the loss is a function of.
    fn reads(&self) -> Vec<Request>;

    /// The loss of one batch.
    ///
    /// # Errors
    /// [`CoreError::MissingReading`] if the outputs lack a reading.
    fn loss(&self, outputs: &Outputs, batch: &Self::Batch) -> Result<Loss, CoreError>;
}

impl<O: Objective + ?Sized> Objective for &O {
    type Batch = O::Batch;

    fn reads(&self) -> Vec<Request> {
        (**self).reads()
    }

    fn loss(&self, outputs: &Outputs, batch: &O::Batch) -> Result<Loss, CoreError> {
        (**self).loss(outputs, batch)
    }
}
