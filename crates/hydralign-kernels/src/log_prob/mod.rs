//! Log-probabilities of a linear softmax without its `[tokens, vocab]` scores.

mod piece;
mod tokens;
mod vocabulary;

pub use tokens::{LinearGradients, TokenLogProbs, TokenSlopes};
pub use vocabulary::Vocabulary;

use crate::KernelError;
use burn::tensor::{Int, Tensor, s};
use piece::Piece;
use std::num::NonZeroUsize;

/// Log-probabilities and entropies of a linear softmax, a few tokens at a time.
///
/// z = hW,  s = c·tanh(z/c)/T (s = z/T without a cap c),  log p = s − log Σ exp s,
/// H = −Σ p log p
///
/// The `[n, vocab]` scores of all tokens never exist. The backward pass computes them again,
/// piece by piece, and is written by hand: with g = ∂L/∂log p_y, e = ∂L/∂H and y the target,
///
/// ∂L/∂s = g·(1_y − p) − e·p ⊙ (log p + H),  ∂L/∂z = ∂L/∂s ⊙ (1 − tanh²(z/c))/T,
/// ∂L/∂h = ∂L/∂z Wᵀ,  ∂L/∂W = hᵀ ∂L/∂z
///
/// # Bytes
/// Two copies of `[chunk, vocab]` at once, on a backend that works in place on what nobody else
/// holds, as burn's CPU one does: it holds the result of a matrix product twice for a moment,
/// and everything after the product stays within that. Beside them, forward: 3 numbers a token
/// and as many again while the pieces are joined, 4 with entropies; backward: `[n, hidden]` for
/// ∂L/∂h, one `[chunk, hidden]`, and ∂L/∂W where it is asked for, which is added up in place by
/// blocks of rows of half a `[chunk, vocab]` (of 32 rows if that is more).
///
/// # Source
/// Head and loss fused by pieces: linkedin/Liger-Kernel, `ops/fused_linear_cross_entropy.py`.
/// Departure: gradients are computed in a pass of their own, because the loss is a function of
/// *all* log-probabilities and known only after them.
#[derive(Clone, Debug)]
pub struct LogProb {
    /// W.
    pub vocabulary: Vocabulary,
    /// T.
    pub temperature: f32,
    /// c; none: scores are not capped.
    pub softcap: Option<f64>,
    /// Tokens in a piece.
    pub chunk: NonZeroUsize,
}

impl LogProb {
    /// Log-probabilities of the targets and, if `entropies`, the entropies.
    ///
    /// Inputs count as constants: nothing here is tracked.
    ///
    /// # Shapes
    /// `hidden`: `[n, hidden]`, `targets`: `[n]`, each below the size of the vocabulary.
    ///
    /// # Errors
    /// [`KernelError::Size`] if the inputs do not fit each other.
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        targets: Tensor<1, Int>,
        entropies: bool,
    ) -> Result<TokenLogProbs, KernelError> {
        self.check(&hidden, &targets)?;
        let (kernel, hidden) = (self.constant(), hidden.without_autodiff());
        let pieces = self.pieces(hidden.dims()[0]).map(|(start, size)| {
            let targets = targets.clone().narrow(0, start, size);
            kernel.read(hidden.clone().narrow(0, start, size), targets, entropies)
        });
        let pieces: Vec<TokenLogProbs> = pieces.collect();
        Ok(TokenLogProbs::join(pieces, entropies, &hidden.device()))
    }

    /// Gradients of the hidden states and, if `vocabulary`, of the matrix.
    ///
    /// # Shapes
    /// `hidden` and `targets` as in the forward pass that gave `found`.
    ///
    /// # Errors
    /// [`KernelError::Size`] if the inputs do not fit each other; [`KernelError::NoEntropies`].
    pub fn backward(
        &self,
        hidden: Tensor<2>,
        targets: Tensor<1, Int>,
        found: &TokenLogProbs,
        slopes: &TokenSlopes,
        vocabulary: bool,
    ) -> Result<LinearGradients, KernelError> {
        self.check(&hidden, &targets)?;
        check_slopes(found, slopes, hidden.dims()[0])?;
        let (kernel, hidden) = (self.constant(), hidden.without_autodiff());
        // Not `zeros`, which the CPU backend makes by a copy.
        let mut to_hidden = Tensor::full(hidden.dims(), 0.0, &hidden.device());
        let mut to_vocabulary = vocabulary.then(|| kernel.vocabulary.zeros());
        for (start, size) in self.pieces(hidden.dims()[0]) {
            let part = hidden.clone().narrow(0, start, size);
            let piece = Piece {
                targets: targets.clone().narrow(0, start, size).reshape([size, 1]),
                found: found.narrow(start, size),
                slopes: slopes.narrow(start, size),
            };
            let d = kernel.score_slopes(part.clone(), piece);
            let below = d.clone().matmul(kernel.vocabulary.rows());
            to_hidden = to_hidden.slice_assign(s![start..start + size], below);
            to_vocabulary = to_vocabulary.map(|sum| kernel.vocabulary.add_gradient(sum, part, d));
        }
        Ok(LinearGradients { hidden: to_hidden, vocabulary: to_vocabulary })
    }

    fn check(&self, hidden: &Tensor<2>, targets: &Tensor<1, Int>) -> Result<(), KernelError> {
        let [n, width] = hidden.dims();
        same_size("width of the hidden states", self.vocabulary.hidden(), width)?;
        same_size("number of targets", n, targets.dims()[0])
    }

    fn constant(&self) -> Self {
        Self { vocabulary: self.vocabulary.clone().without_autodiff(), ..*self }
    }

    /// Start and size of each piece.
    fn pieces(&self, n: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let chunk = self.chunk.get();
        (0..n).step_by(chunk).map(move |start| (start, chunk.min(n - start)))
    }
}

fn same_size(what: &'static str, expected: usize, got: usize) -> Result<(), KernelError> {
    match got == expected {
        true => Ok(()),
        false => Err(KernelError::Size { what, expected, got }),
    }
}

fn check_slopes(found: &TokenLogProbs, slopes: &TokenSlopes, n: usize) -> Result<(), KernelError> {
    same_size("log-probabilities found", n, found.logprobs.dims()[0])?;
    for (what, slope) in [
        ("slopes of the log-probabilities", &slopes.logprobs),
        ("slopes of the entropies", &slopes.entropies),
    ] {
        same_size(what, n, slope.as_ref().map_or(n, |s| s.dims()[0]))?;
    }
    match slopes.entropies.is_some() && found.entropies.is_none() {
        true => Err(KernelError::NoEntropies),
        false => Ok(()),
    }
}
