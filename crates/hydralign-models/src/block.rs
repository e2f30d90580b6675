use crate::Adapter;
use crate::attention::attend;
use crate::cache::Cache;
use crate::linear::Linear;
use crate::norm::Norm;
use crate::sight::Sights;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, silu};
use hydralign_core::Gradient;
use hydralign_families::{Activation, Architecture, Residual};
use hydralign_placement::Target;

/// Weights of one decoder block.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) attention_norm: Norm,
    pub(crate) mlp_norm: Norm,
    /// Norms of the outputs of both halves, in the families that have them.
    pub(crate) attention_out_norm: Option<Norm>,
    pub(crate) mlp_out_norm: Option<Norm>,
    /// Norms of each head's queries and keys, in the families that have them.
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    /// In the order of `ModelShape::targets`.
    pub(crate) projections: Vec<Linear>,
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
    pub(crate) sights: &'a Sights,
    pub(crate) rows: usize,
}

impl Frame<'_> {
    fn norm<const D: usize>(&self, norm: &Norm, x: Tensor<D>) -> Tensor<D> {
        norm.forward(x, self.architecture, self.lens.gradient)
    }

    fn norm_if<const D: usize>(&self, norm: Option<&Norm>, x: Tensor<D>) -> Tensor<D> {
        match norm {
            Some(norm) => self.norm(norm, x),
            None => x,
        }
    }
}

impl Block {
    /// Attention and feed-forward block around the residual stream; see [`Residual`].
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
        match frame.architecture.residual {
            Residual::PreNorm => {
                let normed = frame.norm(&self.attention_norm, x.clone());
                let out = self.attention(index, normed, frame, cache);
                let x = x.add(frame.norm_if(self.attention_out_norm.as_ref(), out));
                let normed = frame.norm(&self.mlp_norm, x.clone());
                let out = self.mlp(index, normed, frame);
                x.add(frame.norm_if(self.mlp_out_norm.as_ref(), out))
            }
            Residual::PostNorm => {
                let out = self.attention(index, x.clone(), frame, cache);
                let x = frame.norm(&self.attention_norm, x.add(out));
                let out = self.mlp(index, x.clone(), frame);
                frame.norm(&self.mlp_norm, x.add(out))
            }
            Residual::Parallel => {
                let normed = frame.norm(&self.attention_norm, x.clone());
                let attention = self.attention(index, normed, frame, cache);
                let normed = frame.norm(&self.mlp_norm, x.clone());
                x.add(attention).add(self.mlp(index, normed, frame))
            }
        }
    }

    fn attention(
        &self,
        index: usize,
        x: Tensor<2>,
        frame: &Frame<'_>,
        cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let architecture = frame.architecture;
        let sight = frame.sights.of(architecture, index);
        let rotate = |x: Tensor<4>| match &sight.rotation {
            Some(rotation) => rotation.apply(x),
            None => x,
        };
        let [q, k, v] = self.queries_keys_values(index, x, frame);
        let scale = match architecture.scale_by_layer {
            true => architecture.attention_scale / (index + 1) as f64,
            false => architecture.attention_scale,
        };
        let q = rotate(frame.norm_if(self.query_norm.as_ref(), q)).mul_scalar(scale);
        let k = rotate(frame.norm_if(self.key_norm.as_ref(), k));
        let (k, v) = match cache {
            Some(cache) => cache.append(index, k, v),
            None => (k, v),
        };
        let context = attend(q, k, v, sight.bias.clone(), architecture.attention_softcap);
        self.project(index, Target::Output, context, frame)
    }

    /// Queries, keys and values, `[rows, time, heads, head_dim]` each.
    fn queries_keys_values(&self, index: usize, x: Tensor<2>, frame: &Frame<'_>) -> [Tensor<4>; 3] {
        let shape = &frame.architecture.shape;
        let (rows, d) = (frame.rows, shape.head_dim);
        let time = x.dims()[0] / rows;
        let by_head = |x: Tensor<2>, heads| x.reshape([rows, time, heads, d]);
        let (heads, kv_heads) = (shape.heads, shape.kv_heads);
        if shape.parts.fused_qkv {
            let all = self.project(index, Target::QueryKeyValue, x, frame);
            let part = |from: usize, heads: usize| {
                by_head(all.clone().narrow(1, from * d, heads * d), heads)
            };
            return [part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)];
        }
        let q = self.project(index, Target::Query, x.clone(), frame);
        let k = self.project(index, Target::Key, x.clone(), frame);
        let v = self.project(index, Target::Value, x, frame);
        [by_head(q, heads), by_head(k, kv_heads), by_head(v, kv_heads)]
    }

    /// (act(x·gate) ⊙ x·up)·down, the gated unit of Shazeer 2020, or act(x·up)·down.
    fn mlp(&self, index: usize, x: Tensor<2>, frame: &Frame<'_>) -> Tensor<2> {
        let activation = frame.architecture.activation;
        let inner = if frame.architecture.shape.parts.gated {
            let gate = activate(activation, self.project(index, Target::Gate, x.clone(), frame));
            gate.mul(self.project(index, Target::Up, x, frame))
        } else {
            activate(activation, self.project(index, Target::Up, x, frame))
        };
        self.project(index, Target::Down, inner, frame)
    }

    /// xW + b, plus s·(xA)B where the adapter has a pair for this projection.
    fn project(&self, index: usize, target: Target, x: Tensor<2>, frame: &Frame<'_>) -> Tensor<2> {
        let Lens { adapter, gradient } = frame.lens;
        let targets = frame.architecture.shape.targets();
        let place = targets.iter().position(|&t| t == target);
        let linear = place.and_then(|i| self.projections.get(i));
        let base = linear.expect("a block has every projection of its shape");
        let base = base.forward(x.clone(), gradient);
        match adapter.and_then(|a| a.pair(index, target)) {
            Some(pair) => base.add(pair.forward(x, gradient)),
            None => base,
        }
    }
}

fn activate(activation: Activation, x: Tensor<2>) -> Tensor<2> {
    match activation {
        Activation::Silu => silu(x),
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Relu => relu(x),
    }
}

/// x/2·(1 + tanh(√(2/π)·x·(1 + 0.044715x²))): the library's own raises to a power, which costs
/// more than the rest together.
fn gelu_tanh(x: Tensor<2>) -> Tensor<2> {
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    let cubic = x.clone().square().mul_scalar(0.044715).add_scalar(1.0);
    let inner = cubic.mul(x.clone()).mul_scalar(scale);
    x.mul(inner.tanh().add_scalar(1.0)).mul_scalar(0.5)
}
