//! A pass through a trunk whose graph is never whole.

use crate::block::{Frame, Lens};
use crate::sight::{Sights, Stand};
use crate::{Adapter, Trunk};
use burn::tensor::Tensor;
use hydralign_core::Gradient;
use hydralign_kernels::{Segment, Segments};
use std::ops::Range;
use std::rc::Rc;

/// What every segment of a pass shares.
struct Walk<'a> {
    trunk: &'a Trunk,
    adapter: Option<&'a Adapter>,
    sights: Sights,
    rows: usize,
}

/// Some blocks of a trunk, or what follows the last.
pub(crate) struct Part<'a> {
    walk: Rc<Walk<'a>>,
    /// None: final norm and projection.
    blocks: Option<Range<usize>>,
}

impl Segment for Part<'_> {
    fn run(&self, x: Tensor<2>, gradient: Gradient) -> Tensor<2> {
        let Walk { trunk, adapter, sights, rows } = &*self.walk;
        let Some(blocks) = self.blocks.clone() else { return trunk.finish(x, gradient) };
        let lens = Lens { adapter: *adapter, gradient };
        let frame = Frame { lens, architecture: &trunk.architecture, sights, rows: *rows };
        trunk.through(blocks, x, &frame, None)
    }
}

impl Trunk {
    /// Output states of right-padded rows as [`Trunk::hidden`] gives them, without a graph, and
    /// what it takes to differentiate them: the input of every `size` blocks, and of what follows
    /// the last.
    ///
    /// # Shapes
    /// `tokens`: row-major `[rows, width]` → `[rows·width, output width]`.
    pub(crate) fn hidden_by_segments<'a>(
        &'a self,
        tokens: &[u32],
        rows: usize,
        adapter: Option<&'a Adapter>,
        size: usize,
    ) -> (Tensor<2>, Segments<Part<'a>>) {
        let stand = Stand::padded_right(tokens.len() / rows);
        let sights = Sights::new(&self.architecture, &stand, &self.device());
        let walk = Rc::new(Walk { trunk: self, adapter, sights, rows });
        let count = self.blocks.len();
        let blocks = (0..count).step_by(size).map(|first| Some(first..(first + size).min(count)));
        let ends = self.norm.is_some() || self.project_out.is_some();
        let parts = blocks.chain(ends.then_some(None));
        let parts = parts.map(|blocks| Part { walk: Rc::clone(&walk), blocks }).collect();
        let x = self.embed(tokens, rows, &stand, Gradient::Off);
        Segments::run(parts, x)
    }

    /// Embeddings of right-padded rows, `[rows·width, hidden]`: what the first segment reads.
    pub(crate) fn embedded(&self, tokens: &[u32], rows: usize, gradient: Gradient) -> Tensor<2> {
        self.embed(tokens, rows, &Stand::padded_right(tokens.len() / rows), gradient)
    }
}
