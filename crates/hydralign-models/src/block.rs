use crate::Adapter;
use crate::architecture::Architecture;
use crate::attention::attend;
use crate::cache::Cache;
use crate::low_rank::weight;
use crate::norm::rms_norm;
use crate::rope::Rotation;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use hydralign_core::Gradient;
use hydralign_placement::Target;

/// Weights of one decoder block. Projections are stored `[in, out]`, in the order of
/// [`Target::ALL`].
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) attention_norm: Param<Tensor<1>>,
    pub(crate) mlp_norm: Param<Tensor<1>>,
    pub(crate) projections: Vec<Param<Tensor<2>>>,
}

/// What a pass looks through: which adapter, and whether the graph is kept.
#[derive(Clone, Copy)]
pub(crate) struct Lens<'a> {
    pub(crate) adapter: Option<&'a Adapter>,
    pub(crate) gradient: Gradient,
}

/// What every block of a pass shares.
pub(crate) struct Frame<'a> {
    pub(crate) lens: Lens<'a>,
    pub(crate) architecture: &'a Architecture,
    pub(crate) rotation: Rotation,
    pub(crate) bias: Option<Tensor<5>>,
    pub(crate) rows: usize,
}

impl Block {
    /// x + attention(norm x), then + mlp(norm x) (the pre-norm block of Llama).
    ///
    /// # Shapes
    /// `x`: `[rows·time, hidden]`, the same out.
    pub(crate) fn forward(
        &self,
        index: usize,
        x: Tensor<2>,
        frame: &Frame<'_>,
        cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let eps = frame.architecture.norm_eps;
        let gradient = frame.lens.gradient;
        let normed = rms_norm(x.clone(), &self.attention_norm, eps, gradient);
        let x = x.add(self.attention(index, normed, frame, cache));
        let normed = rms_norm(x.clone(), &self.mlp_norm, eps, gradient);
        x.add(self.mlp(index, normed, frame.lens))
    }

    fn attention(
        &self,
        index: usize,
        x: Tensor<2>,
        frame: &Frame<'_>,
        cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let shape = &frame.architecture.shape;
        let (rows, d) = (frame.rows, shape.head_dim);
        let time = x.dims()[0] / rows;
        let project = |target, heads| {
            self.project(index, target, x.clone(), frame.lens).reshape([rows, time, heads, d])
        };
        let q = frame.rotation.apply(project(Target::Query, shape.heads));
        let q = q.mul_scalar(1.0 / (d as f64).sqrt());
        let k = frame.rotation.apply(project(Target::Key, shape.kv_heads));
        let v = project(Target::Value, shape.kv_heads);
        let (k, v) = match cache {
            Some(cache) => cache.append(index, k, v),
            None => (k, v),
        };
        let context = attend(q, k, v, frame.bias.clone());
        self.project(index, Target::Output, context, frame.lens)
    }

    /// (silu(x·gate) ⊙ x·up)·down: SwiGLU (Shazeer 2020).
    fn mlp(&self, index: usize, x: Tensor<2>, lens: Lens<'_>) -> Tensor<2> {
        let gate = silu(self.project(index, Target::Gate, x.clone(), lens));
        let up = self.project(index, Target::Up, x, lens);
        self.project(index, Target::Down, gate.mul(up), lens)
    }

    /// xW, plus s·(xA)B where the adapter has a pair for this projection.
    fn project(&self, index: usize, target: Target, x: Tensor<2>, lens: Lens<'_>) -> Tensor<2> {
        let low_rank = lens.adapter.and_then(|a| Some((a.pair(index, target)?, a.lora.scale())));
        let base = x.clone().matmul(weight(&self.projections[target as usize], lens.gradient));
        match low_rank {
            Some((pair, scale)) => base.add(pair.forward(x, scale, lens.gradient)),
            None => base,
        }
    }
}
