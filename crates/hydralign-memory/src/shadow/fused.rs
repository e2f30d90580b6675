//! Layers of one operation each, as PyTorch has them.

use super::forward::{Pass, TABLE};
use super::tape::Var;
use super::weights::NormWeights;
use crate::Kernels;
use hydralign_families::{Activation, NormKind};

/// Bytes of a number in a dropout mask.
const MASK: u64 = 1;

impl Pass<'_> {
    /// Whether norms, activations and softmax are one operation each.
    pub(super) fn is_fused(&self) -> bool {
        matches!(self.store.book().kernels(), Kernels::Fused { .. })
    }

    /// A norm in one kernel, with the means and deviations of its rows.
    pub(super) fn fused_norm(&self, norm: &NormWeights, x: Var) -> Var {
        let statistics = match self.architecture.norm {
            NormKind::Layer => 2,
            NormKind::Rms | NormKind::RmsPlusOne => 1,
        };
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = statistics;
        }
        let kept = vec![x.flat.clone(), self.table(&dims, TABLE)];
        let result = x.flat.clone().unary();
        let weights = [Some(norm.weight), norm.bias].into_iter().flatten();
        let weights = weights.map(|id| self.weight(id));
        Var::kernel(std::iter::once(x).chain(weights).collect(), result, kept)
    }

    /// What training drops, if it does.
    pub(super) fn dropout(&self, x: Var) -> Var {
        match self.store.book().kernels() {
            Kernels::Fused { dropout: true } if self.graph => {
                let mask = self.table(x.dims(), MASK);
                let result = x.flat.clone().unary();
                Var::kernel(vec![x], result, vec![mask])
            }
            _ => x,
        }
    }

    /// A non-linearity, which keeps its input; that of ReLU is known from its result.
    pub(super) fn fused_activation(&self, x: Var) -> Var {
        if self.architecture.activation == Activation::Relu {
            return x.keeping_result();
        }
        let (kept, result) = (vec![x.flat.clone()], x.flat.clone().unary());
        Var::kernel(vec![x], result, kept)
    }
}
