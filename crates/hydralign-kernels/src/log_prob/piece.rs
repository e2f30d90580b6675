use super::{LogProb, TokenLogProbs, TokenSlopes};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// What the backward pass of a piece of `size` tokens needs beside its hidden states.
pub(super) struct Piece {
    /// `[size, 1]`.
    pub(super) targets: Tensor<2, Int>,
    pub(super) found: TokenLogProbs,
    pub(super) slopes: TokenSlopes,
}

// Every line below owns the large tensor that it changes, so that the CPU backend changes it in
// place: a clone that outlives its line would cost a copy of `[size, vocab]`.
impl LogProb {
    /// The forward pass of a piece: `[size, hidden]`, `[size]`.
    pub(super) fn read(
        &self,
        hidden: Tensor<2>,
        targets: Tensor<1, Int>,
        entropies: bool,
    ) -> TokenLogProbs {
        let size = targets.dims()[0];
        let s = self.scaled(self.logits(hidden)); // [size, vocab]
        let top = s.clone().max_dim(1); // [size, 1]
        let chosen = s.clone().gather(1, targets.reshape([size, 1])).sub(top.clone());
        let below = s.sub(top.clone());
        let (sum, weighted) = if entropies {
            let mass = below.clone().exp();
            (mass.clone().sum_dim(1), Some(mass.mul(below).sum_dim(1)))
        } else {
            (below.exp().sum_dim(1), None)
        };
        let log_sum = sum.clone().log();
        TokenLogProbs {
            logprobs: chosen.sub(log_sum.clone()).reshape([size]),
            entropies: weighted.map(|w| log_sum.clone().sub(w.div(sum)).reshape([size])),
            top: top.reshape([size]),
            log_sum: log_sum.reshape([size]),
        }
    }

    /// ∂L/∂z of a piece, `[size, vocab]`.
    pub(super) fn score_slopes(&self, hidden: Tensor<2>, piece: Piece) -> Tensor<2> {
        let size = piece.targets.dims()[0];
        let column = |x: Tensor<1>| x.without_autodiff().reshape([size, 1]);
        let (top, log_sum) = (column(piece.found.top), column(piece.found.log_sum));
        let g = piece.slopes.logprobs.map_or_else(|| top.zeros_like(), column);
        let entropy = piece.slopes.entropies.map(column).zip(piece.found.entropies.map(column));
        let t = self.logits(hidden);
        let own = t.clone().gather(1, piece.targets.clone()); // [size, 1]
        let own = if self.softcap.is_some() { g.clone().mul(slope(own)) } else { g.clone() };
        let log_p = |t: Tensor<2>| self.scaled(t).sub(top.clone()).sub(log_sum.clone());
        let d = if self.softcap.is_none() && entropy.is_none() {
            log_p(t).exp().mul(g.neg())
        } else {
            let mut p = log_p(t.clone()).exp();
            let mut t = t;
            if self.softcap.is_some() {
                // p(1 − t²) as p(1 − t)(1 + t), so that t is still there afterwards.
                t = t.neg().add_scalar(1.0);
                p = p.mul(t.clone());
                t = t.neg().add_scalar(2.0);
                p = p.mul(t.clone());
                t = t.sub_scalar(1.0);
            }
            match entropy {
                // −p(g + e(log p + H))
                Some((e, h)) => p.mul(log_p(t).add(h).mul(e).add(g).neg()),
                None => p.mul(g.neg()),
            }
        };
        let d = d.scatter(1, piece.targets, own, IndexingUpdateOp::Add);
        match self.temperature {
            1.0 => d,
            temperature => d.div_scalar(temperature),
        }
    }

    /// tanh(z/c), or z without a cap.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let z = hidden.matmul(self.vocabulary.columns());
        match self.softcap {
            Some(cap) => z.div_scalar(cap).tanh(),
            None => z,
        }
    }

    /// s of what [`LogProb::logits`] gives.
    fn scaled(&self, t: Tensor<2>) -> Tensor<2> {
        let t = match self.softcap {
            Some(cap) => t.mul_scalar(cap),
            None => t,
        };
        match self.temperature {
            1.0 => t,
            temperature => t.div_scalar(temperature),
        }
    }
}

/// 1 − t²
fn slope(t: Tensor<2>) -> Tensor<2> {
    t.square().neg().add_scalar(1.0)
}
