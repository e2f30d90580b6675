//! Gradients of a loss over readings, with the vocabulary or the blocks taken in pieces.

use crate::cut::Way;
use crate::{ActionHeads, ModelBank, ValueHead};
use burn::module::ParamId;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Gradients, Tensor};
use hydralign_core::{
    CoreError, Differentiable, Outputs, Request, TokenBatch, differentiate_at_once,
};
use hydralign_placement::Execution;

impl<V: ValueHead> Differentiable for ModelBank<V> {
    fn followers(&self) -> Vec<ParamId> {
        self.action_heads.as_ref().map_or_else(Vec::new, ActionHeads::followers)
    }

    /// The gradient, carried out as [`ModelBank::with_execution`] says.
    ///
    /// In pieces, the loss sees readings of states that are cut off from what lies below them;
    /// its backward pass ends there. From the cut, ∂L/∂(states) goes back through one group of
    /// roles after the other: first through the LM head by hand, then through the blocks.
    fn differentiate<E: From<CoreError>>(
        &self,
        requests: &[Request],
        batch: &TokenBatch,
        loss: impl FnOnce(&Outputs) -> Result<Tensor<1>, E>,
    ) -> Result<GradientsParams, E> {
        if self.execution == Execution::default() {
            return differentiate_at_once(self, requests, batch, loss);
        }
        let mut outputs = Outputs::new();
        let mut passes = Vec::new();
        for group in self.groups(requests)? {
            match self.learns(&group) {
                true => passes.push(self.cut_pass(&group, batch, &mut outputs)?),
                false => self.answer(&group, batch, &mut outputs)?,
            }
        }
        let value = loss(&outputs)?;
        drop(outputs);
        if !value.is_tracked() {
            return Err(CoreError::ConstantLoss.into());
        }
        let mut gradients = value.backward();
        drop(value);
        let ways: Vec<Way<'_>> = passes.into_iter().map(|p| p.turn(&mut gradients)).collect();
        let mut sum = Sum { bank: self, gradients: GradientsAccumulator::new() };
        sum.add(gradients);
        for way in ways {
            way.back(batch, &mut sum)?;
        }
        Ok(sum.gradients.grads())
    }
}

/// Gradients of a bank's parameters, added up.
pub(crate) struct Sum<'a, V: ValueHead> {
    bank: &'a ModelBank<V>,
    gradients: GradientsAccumulator<ModelBank<V>>,
}

impl<V: ValueHead> Sum<'_, V> {
    pub(crate) fn add(&mut self, gradients: Gradients) {
        let gradients = GradientsParams::from_grads(gradients, self.bank);
        self.gradients.accumulate(self.bank, gradients);
    }

    pub(crate) fn add_one(&mut self, id: ParamId, gradient: Tensor<2>) {
        let mut gradients = GradientsParams::new();
        gradients.register(id, gradient);
        self.gradients.accumulate(self.bank, gradients);
    }
}
