//! Gradient steps, as the learner takes them.

use super::cut::add;
use super::flat::Flat;
use super::read::{Batch, Group, Model};
use super::tape::Var;
use crate::{Category, MemoryError, Request};
use hydralign_placement::Execution;

/// Gradients of the parameters that received one.
pub(crate) type Gradients = Vec<Option<Flat>>;

impl Model<'_> {
    /// A scalar that all differentiable readings lead to.
    pub(crate) fn loss(&self, outputs: Vec<(Request, Var)>) -> Option<Var> {
        let book = self.bank.store.book();
        book.under(Category::Activations, || {
            let term =
                |(request, value): (Request, Var)| request.gradient.then(|| value.scale().sum());
            outputs.into_iter().filter_map(term).reduce(Var::add)
        })
    }

    /// Whether the pass of a group is differentiated.
    pub(crate) fn learns(&self, group: &Group) -> bool {
        group.graph && self.bank.placement.is_trainable(&group.view)
    }

    /// The gradients of one micro-batch.
    pub(crate) fn differentiate(
        &self,
        requests: &[Request],
        batch: Batch,
    ) -> Result<Gradients, MemoryError> {
        if self.workload.execution != Execution::default() {
            return self.differentiate_in_pieces(requests, batch);
        }
        let loss = self.loss(self.read(requests, batch)?);
        Ok(self.collect(loss.map(Var::backward).unwrap_or_default()))
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
        let mut sums: Gradients = vec![None; self.bank.store.count()];
        for _ in 0..micro_batches.min(2) {
            let gradients = self.differentiate(requests, batch)?;
            for (sum, new) in sums.iter_mut().zip(gradients) {
                if let Some(new) = new {
                    add(sum, new);
                }
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
