//! The terms of a prediction that are equations, one function each.

use crate::count::{product, sum};
use crate::{Dtype, MemoryError, Optimizer, Terms};
use hydralign_placement::Role;

/// The learner's, with moments in 32 bits whatever the parameter's own format.
const OPTIMIZER: Optimizer = Optimizer::AdamW { moments: Dtype::F32 };

impl Terms<'_> {
    /// Trunks: Σ over trunks of N·b′ if trained, else M·b + (N − M)·c.
    ///
    /// M are the numbers in the projections of the blocks and, unless it is the head as well, in the
    /// embedding: what is converted where it is used. Norms, biases and the LM head are held in the
    /// format c that is computed in.
    ///
    /// A trunk that no role reads logits from, as a critic of its own, is held without an LM
    /// head: V·h parameters less, unless the head is the transposed embedding.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn weights(&self) -> Result<u64, MemoryError> {
        let what = "the weights";
        let (workload, matrices) = (self.workload, self.counts.matrices);
        let mut terms = Vec::new();
        for (index, trunk) in self.placement.trunks.iter().enumerate() {
            let all = self.trunk_parameters(index);
            if trunk.trainable {
                terms.push(product(what, &[all, workload.trained_dtype.bytes()])?);
                continue;
            }
            terms.push(product(what, &[matrices, workload.frozen_dtype.bytes()])?);
            // The matrices are a part of the trunk's count.
            terms.push(product(what, &[all - matrices, workload.compute_dtype.bytes()])?);
        }
        sum(what, &terms)
    }

    /// Adapters: Σ over adapters of r·(b′ if trained, else c).
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn adapters(&self) -> Result<u64, MemoryError> {
        let trained = self.placement.adapters.iter().map(|a| a.trainable);
        self.stored("the adapters", self.counts.adapter, trained)
    }

    /// Scalar heads of critic and reward model: Σ of h·(b′ if trained, else c).
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn heads(&self) -> Result<u64, MemoryError> {
        let scalar = self.placement.views.keys().filter(|r| r.is_scalar());
        let trained = scalar.map(|&r| self.placement.head_trainable(r));
        self.stored("the scalar heads", self.counts.head, trained)
    }

    /// One set of gradients: b′·(trained parameters).
    ///
    /// A minibatch that is split holds two for a moment, the sum so far and the newest.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn gradients(&self) -> Result<u64, MemoryError> {
        let bytes = self.workload.trained_dtype.bytes();
        product("the gradients", &[self.trained_parameters()?, bytes])
    }

    /// The moments of AdamW: 2·4·(trained parameters). From the first step to the end.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn optimizer(&self) -> Result<u64, MemoryError> {
        product("the optimizer", &[self.trained_parameters()?, OPTIMIZER.bytes()])
    }

    /// What a checkpoint copies: the trained weights and the moments of AdamW, (b′ + 2·4)·(trained parameters).
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn checkpoint(&self) -> Result<u64, MemoryError> {
        let weights = self.workload.trained_dtype.bytes();
        product("a checkpoint", &[self.trained_parameters()?, weights + OPTIMIZER.bytes()])
    }

    /// Parameters that are trained: trunks, adapters and scalar heads.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn trained_parameters(&self) -> Result<u64, MemoryError> {
        let what = "the trained parameters";
        let placement = self.placement;
        let trained = (0..placement.trunks.len()).filter(|&i| placement.trunks[i].trainable);
        let mut terms: Vec<u64> = trained.map(|i| self.trunk_parameters(i)).collect();
        terms.push(product(what, &[placement.lora_sets() as u64, self.counts.adapter])?);
        let heads = Role::ALL.iter().filter(|&&r| placement.head_trainable(r)).count() as u64;
        terms.push(product(what, &[heads, self.counts.head])?);
        sum(what, &terms)
    }

    /// Parameters of one trunk as it is held: without an LM head that no role reads.
    fn trunk_parameters(&self, trunk: usize) -> u64 {
        let unused = if self.placement.predicts(trunk) { 0 } else { self.counts.lm_head };
        // The head is a part of the trunk's count.
        self.counts.trunk - unused
    }

    fn dtype(&self, trained: bool) -> Dtype {
        if trained { self.workload.trained_dtype } else { self.workload.compute_dtype }
    }

    fn stored(
        &self,
        what: &'static str,
        parameters: u64,
        trained: impl Iterator<Item = bool>,
    ) -> Result<u64, MemoryError> {
        let bytes: u64 = trained.map(|t| self.dtype(t).bytes()).sum();
        product(what, &[parameters, bytes])
    }
}
