//! A block of the decoder, operation by operation as hydralign-models runs it.

use super::flat::Flat;
use super::forward::{Cache, Pass, Sight};
use super::tape::Var;
use super::weights::{BlockWeights, NormWeights};
use hydralign_families::{Activation, NormKind, Residual};
use hydralign_placement::Target;

impl Pass<'_> {
    pub(super) fn norm(&self, norm: &NormWeights, x: Var) -> Var {
        if self.is_fused() {
            return self.fused_norm(norm, x);
        }
        let last = x.dims().len() - 1;
        let x = match self.architecture.norm {
            NormKind::Layer => {
                let centre = x.clone();
                centre.sub(x.reduce(last))
            }
            NormKind::Rms | NormKind::RmsPlusOne => x,
        };
        let scale = x.clone().square().reduce(last).shift().root().recip();
        let unsqueezed = |v: Var| {
            let mut dims = vec![1; last + 1];
            dims[last] = v.dims()[0];
            v.reshape(&dims)
        };
        let gamma = self.weight(norm.weight);
        let gamma = match self.architecture.norm {
            NormKind::RmsPlusOne => gamma.shift(),
            NormKind::Rms | NormKind::Layer => gamma,
        };
        let y = x.mul(scale).mul(unsqueezed(gamma));
        match norm.bias {
            Some(bias) => y.add(unsqueezed(self.weight(bias))),
            None => y,
        }
    }

    fn norm_if(&self, norm: Option<&NormWeights>, x: Var) -> Var {
        match norm {
            Some(norm) => self.norm(norm, x),
            None => x,
        }
    }

    pub(super) fn block(
        &self,
        index: usize,
        x: Var,
        sight: &Sight,
        cache: Option<&mut Cache>,
    ) -> Var {
        let block = &self.trunk.blocks[index];
        match self.architecture.residual {
            Residual::PreNorm => {
                let normed = self.norm(&block.attention_norm, x.clone());
                let out = self.attention(index, normed, sight, cache);
                let x = x.add(self.norm_if(block.attention_out_norm.as_ref(), out));
                let normed = self.norm(&block.mlp_norm, x.clone());
                let out = self.mlp(index, normed);
                x.add(self.norm_if(block.mlp_out_norm.as_ref(), out))
            }
            Residual::PostNorm => {
                let out = self.attention(index, x.clone(), sight, cache);
                let x = self.norm(&block.attention_norm, x.add(out));
                let out = self.mlp(index, x.clone());
                self.norm(&block.mlp_norm, x.add(out))
            }
            Residual::Parallel => {
                let normed = self.norm(&block.attention_norm, x.clone());
                let attention = self.attention(index, normed, sight, cache);
                let normed = self.norm(&block.mlp_norm, x.clone());
                x.add(attention).add(self.mlp(index, normed))
            }
        }
    }

    fn attention(&self, index: usize, x: Var, sight: &Sight, cache: Option<&mut Cache>) -> Var {
        let block = &self.trunk.blocks[index];
        let [q, k, v] = self.queries_keys_values(index, x);
        let q = rotate(self.norm_if(block.query_norm.as_ref(), q), sight).scale();
        let k = rotate(self.norm_if(block.key_norm.as_ref(), k), sight);
        let (k, v) = match cache {
            Some(cache) => cache.append(index, k, v),
            None => (k, v),
        };
        let context = self.attend(q, k, v, sight);
        self.dropout(self.project(index, Target::Output, context))
    }

    fn queries_keys_values(&self, index: usize, x: Var) -> [Var; 3] {
        let shape = &self.architecture.shape;
        let [heads, kv_heads, d] = [shape.heads, shape.kv_heads, shape.head_dim].map(|n| n as u64);
        let by_head = |x: Var, heads: u64| x.reshape(&[self.rows, self.queries, heads, d]);
        if shape.parts.fused_qkv {
            let all = self.project(index, Target::QueryKeyValue, x);
            let part =
                |from: u64, heads: u64| by_head(all.clone().narrow(1, from * d, heads * d), heads);
            return [part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)];
        }
        let q = self.project(index, Target::Query, x.clone());
        let k = self.project(index, Target::Key, x.clone());
        let v = self.project(index, Target::Value, x);
        [by_head(q, heads), by_head(k, kv_heads), by_head(v, kv_heads)]
    }

    fn attend(&self, q: Var, k: Var, v: Var, sight: &Sight) -> Var {
        let capped = self.architecture.attention_softcap.is_some();
        let [b, tq, heads, d] = [0, 1, 2, 3].map(|i| q.dims()[i]);
        let kv = k.dims()[2];
        let bias = sight.bias.clone().map(Var::constant);
        if tq == 1 {
            let q = q.reshape(&[b, kv, heads / kv, d]);
            let scores = softcap(q.matmul(k.permute(&[0, 2, 3, 1])), capped);
            let probabilities = scores.softmax();
            return probabilities.matmul(v.permute(&[0, 2, 1, 3])).reshape(&[b, heads * d]);
        }
        let q = q.reshape(&[b, tq, kv, heads / kv, d]).permute(&[0, 2, 3, 1, 4]);
        let unsqueezed = |x: Var| {
            let [b, h, m, n] = [0, 1, 2, 3].map(|i| x.dims()[i]);
            x.reshape(&[b, h, 1, m, n])
        };
        let k = unsqueezed(k.permute(&[0, 2, 3, 1]));
        let v = unsqueezed(v.permute(&[0, 2, 1, 3]));
        let scores = softcap(q.matmul(k), capped);
        let scores = match bias {
            Some(bias) => scores.add(bias),
            None => scores,
        };
        let context = self.dropout(scores.softmax()).matmul(v);
        context.permute(&[0, 3, 1, 2, 4]).reshape(&[b.saturating_mul(tq), heads * d])
    }

    fn mlp(&self, index: usize, x: Var) -> Var {
        let inner = if self.architecture.shape.parts.gated {
            let gate = self.activate(self.project(index, Target::Gate, x.clone()));
            gate.mul(self.project(index, Target::Up, x))
        } else {
            self.activate(self.project(index, Target::Up, x))
        };
        self.dropout(self.project(index, Target::Down, inner))
    }

    fn activate(&self, x: Var) -> Var {
        if self.is_fused() {
            return self.fused_activation(x);
        }
        match self.architecture.activation {
            Activation::Silu => {
                let gate = x.clone();
                gate.mul(x.sigmoid())
            }
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => {
                let cubic = x.clone().square().scale().shift();
                let inner = cubic.mul(x.clone()).scale();
                x.mul(inner.tanh().shift()).scale()
            }
            Activation::Relu => x.relu(),
        }
    }

    fn project(&self, index: usize, target: Target, x: Var) -> Var {
        let block: &BlockWeights = &self.trunk.blocks[index];
        let Some(&(weight, bias)) = block.projections.get(&target) else { return x };
        let base = x.clone().matmul(self.weight(weight));
        let base = match bias {
            Some(bias) => {
                let bias = self.weight(bias);
                let columns = bias.dims()[0];
                base.add(bias.reshape(&[1, columns]))
            }
            None => base,
        };
        match self.adapter.and_then(|a| a.pairs[index].get(&target)) {
            Some(&[a, b]) => {
                let down = x.matmul(self.weight(a)).scale();
                base.add(down.matmul(self.weight(b)))
            }
            None => base,
        }
    }
}

pub(super) fn softcap(x: Var, capped: bool) -> Var {
    match capped {
        true => x.scale().tanh().scale(),
        false => x,
    }
}

fn rotate(x: Var, sight: &Sight) -> Var {
    let Some([cos, sin]) = &sight.rotation else { return x };
    let table = |t: &Flat| Var::constant(t.clone());
    let (half, d) = (sight.rotated / 2, x.dims()[3]);
    let low = x.clone().narrow(3, 0, half);
    let high = x.clone().narrow(3, half, half);
    let (cos, sin) = (table(cos), table(sin));
    let turned_low = low.clone().mul(cos.clone()).sub(high.clone().mul(sin.clone()));
    let turned_high = high.mul(cos).add(low.mul(sin));
    let mut others = vec![turned_high];
    if sight.rotated < d {
        others.push(x.clone().narrow(3, sight.rotated, d - sight.rotated));
    }
    turned_low.cat(others)
}
