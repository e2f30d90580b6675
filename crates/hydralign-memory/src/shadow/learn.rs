//! Gradient steps, as the learner takes them.

use super::flat::Flat;
use super::read::{Batch, Model};
use super::tape::Var;
use crate::{Category, MemoryError, Request};

/// Gradients of the parameters that received one.
type Gradients = Vec<Option<Flat>>;

impl Model<'_> {
    /// The gradients of one micro-batch by plain backward pass.
    fn differentiate(&self, requests: &[Request], batch: Batch) -> Result<Gradients, MemoryError> {
        let outputs = self.read(requests, batch)?;
        let book = self.bank.store.book();
        let loss = book.under(Category::Activations, || {
            let term = |(request, value): &(Request, Var)| {
                request.gradient.then(|| value.clone().scale().reduce(0))
            };
            outputs.iter().filter_map(term).reduce(Var::add)
        });
        drop(outputs);
        let Some(loss) = loss else { return Ok(Vec::new()) };
        let mut grads = loss.backward();
        let take = |id| grads.take(&self.bank.store.take_node(id)?);
        Ok((0..self.bank.store.count()).map(take).collect())
    }

    /// One optimizer step on a minibatch of `micro_batches` equal parts.
    ///
    /// From the second part on nothing changes, so no more than two are gone through.
    pub(crate) fn step(
        &self,
        requests: &[Request],
        batch: Batch,
        micro_batches: u64,
    ) -> Result<(), MemoryError> {
        let book = self.bank.store.book();
        let mut sums: Gradients = Vec::new();
        for _ in 0..micro_batches.min(2) {
            let gradients = self.differentiate(requests, batch)?;
            sums.resize(gradients.len(), None);
            for (sum, new) in sums.iter_mut().zip(gradients) {
                *sum = match (sum.take(), new) {
                    (Some(sum), Some(new)) => Some(sum.binary(new)),
                    (sum, new) => sum.or(new),
                };
            }
        }
        book.under(Category::Workspace, || {
            for gradient in sums.iter().flatten() {
                // The square of each gradient, for the norm of all.
                drop(gradient.clone().binary(gradient.clone()));
            }
            for (id, gradient) in sums.iter_mut().enumerate() {
                if let Some(gradient) = gradient.take() {
                    self.bank.store.step(id, gradient.unary());
                }
            }
        });
        Ok(())
    }
}
