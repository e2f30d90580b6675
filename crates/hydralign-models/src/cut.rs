//! Passes whose graph ends between the blocks and the heads.

use crate::differentiate::Sum;
use crate::predict::{Predictions, index, log_prob, misfit, predict_at_once, targets};
use crate::read::{Group, States, check_fits};
use crate::segmented::Part;
use crate::{ModelBank, Trunk, ValueHead};
use burn::module::ParamId;
use burn::tensor::{Gradients, IndexingUpdateOp, Int, Tensor};
use hydralign_core::{CoreError, Gradient, Outputs, Reading, TokenBatch};
use hydralign_kernels::{LogProb, Segments, TokenLogProbs, TokenSlopes};
use std::num::NonZeroUsize;

/// A pass that was cut between its blocks and its heads.
pub(crate) struct CutPass<'a> {
    trunk: &'a Trunk,
    below: Below<'a>,
    /// Output states, `[rows·width, output width]`, where the graph of the loss ends.
    states: Tensor<2>,
    head: Option<CutHead>,
}

/// How to go back through the blocks.
enum Below<'a> {
    /// By the graph that ends in the output states.
    Graph(Box<Tensor<2>>),
    /// Segment by segment.
    Segments(Segments<Part<'a>>),
}

/// The LM head of a pass, by pieces.
struct CutHead {
    kernel: LogProb,
    /// The parameter of its matrix, if that is trained.
    trained: Option<ParamId>,
    /// States that predict a response token, `[tokens, output width]`.
    packed: Tensor<2>,
    targets: Tensor<1, Int>,
    found: TokenLogProbs,
    /// What the loss sees of it, where its graph ends.
    logprobs: Tensor<1>,
    entropies: Option<Tensor<1>>,
}

impl<V: ValueHead> ModelBank<V> {
    /// A pass and what the loss sees of it.
    pub(crate) fn cut_pass(
        &self,
        group: &Group,
        batch: &TokenBatch,
        outputs: &mut Outputs,
    ) -> Result<CutPass<'_>, CoreError> {
        let (trunk, lens) = self.look(&group.view, Gradient::On)?;
        check_fits(trunk, batch)?;
        let (tokens, rows) = (batch.padded(), batch.rows());
        let (hidden, below) = match self.execution.segment_blocks {
            Some(size) => {
                let (hidden, segments) =
                    trunk.hidden_by_segments(&tokens, rows, lens.adapter, size.max(1));
                (hidden, Below::Segments(segments))
            }
            None => {
                let hidden = trunk.hidden(&tokens, rows, lens);
                (hidden.clone().without_autodiff(), Below::Graph(Box::new(hidden)))
            }
        };
        let leaf = hidden.autodiff().require_grad();
        let states = States::new(leaf.clone(), group, batch);
        let packed = states.packed.as_ref().filter(|_| group.reads(Reading::needs_logits));
        let (head, predictions) = match (packed, self.chunk()) {
            (Some(packed), Some(chunk)) => {
                let packed = packed.clone().without_autodiff();
                let head = CutHead::read(trunk, group, batch, packed, chunk)?;
                let (logprobs, entropies) = (head.logprobs.clone(), head.entropies.clone());
                (Some(head), Some(Predictions { logprobs, entropies }))
            }
            (Some(packed), None) => {
                let entropies = group.reads(|r| matches!(r, Reading::Entropy(_)));
                let packed = packed.clone();
                let seen = predict_at_once(trunk, packed, batch, Gradient::On, entropies)?;
                (None, Some(seen))
            }
            (None, _) => (None, None),
        };
        self.fill(group, &states, predictions.as_ref(), batch, outputs)?;
        Ok(CutPass { trunk, below, states: leaf, head })
    }
}

impl CutHead {
    fn read(
        trunk: &Trunk,
        group: &Group,
        batch: &TokenBatch,
        packed: Tensor<2>,
        chunk: NonZeroUsize,
    ) -> Result<Self, CoreError> {
        let kernel = log_prob(trunk, batch, chunk)?;
        let targets = targets(batch, &trunk.device());
        let entropies = group.reads(|r| matches!(r, Reading::Entropy(_)));
        let found = kernel.forward(packed.clone(), targets.clone(), entropies).map_err(misfit)?;
        let leaf = |x: &Tensor<1>| x.clone().autodiff().require_grad();
        let matrix = trunk.head.as_ref().unwrap_or(&trunk.embedding);
        Ok(Self {
            kernel,
            trained: matrix.val().is_require_grad().then_some(matrix.id),
            packed,
            targets,
            logprobs: leaf(&found.logprobs),
            entropies: found.entropies.as_ref().map(leaf),
            found,
        })
    }

    /// Takes the slopes of what the loss saw.
    fn slopes(&self, gradients: &mut Gradients) -> TokenSlopes {
        TokenSlopes {
            logprobs: self.logprobs.grad_remove(gradients),
            entropies: self.entropies.as_ref().and_then(|e| e.grad_remove(gradients)),
        }
    }
}

/// The way back through a pass, once the slopes at its cut are known.
pub(crate) struct Way<'a> {
    trunk: &'a Trunk,
    below: Below<'a>,
    /// ∂L/∂(output states), without the part that comes through the LM head.
    slope: Option<Tensor<2>>,
    head: Option<(CutHead, TokenSlopes)>,
}

impl<'a> CutPass<'a> {
    /// Takes the slopes at the cut out of the loss's gradients.
    pub(crate) fn turn(self, gradients: &mut Gradients) -> Way<'a> {
        let slope = self.states.grad_remove(gradients);
        let head = self.head.map(|head| {
            let slopes = head.slopes(gradients);
            (head, slopes)
        });
        Way { trunk: self.trunk, below: self.below, slope, head }
    }
}

impl Way<'_> {
    /// Goes back to the last trained weight.
    pub(crate) fn back<V: ValueHead>(
        mut self,
        batch: &TokenBatch,
        sum: &mut Sum<'_, V>,
    ) -> Result<(), CoreError> {
        if let Some((head, slopes)) = self.head.take()
            && (slopes.logprobs.is_some() || slopes.entropies.is_some())
        {
            self.through_head(&head, &slopes, batch, sum)?;
        }
        let Some(slope) = self.slope.take() else { return Ok(()) };
        match self.below {
            Below::Graph(states) if states.is_tracked() => {
                sum.add(states.mul(slope).sum().backward());
            }
            Below::Graph(_) => {}
            Below::Segments(segments) => {
                let trained = self.trunk.embedding.val().is_require_grad();
                let first = segments.backward(slope, trained, |gradients| sum.add(gradients));
                if let Some(first) = first {
                    let x = self.trunk.embedded(&batch.padded(), batch.rows(), Gradient::On);
                    sum.add(x.mul(first).sum().backward());
                }
            }
        }
        Ok(())
    }

    fn through_head<V: ValueHead>(
        &mut self,
        head: &CutHead,
        slopes: &TokenSlopes,
        batch: &TokenBatch,
        sum: &mut Sum<'_, V>,
    ) -> Result<(), CoreError> {
        let CutHead { kernel, trained, packed, targets, found, .. } = head;
        let gradients = kernel
            .backward(packed.clone(), targets.clone(), found, slopes, trained.is_some())
            .map_err(misfit)?;
        if let Some((id, gradient)) = trained.zip(gradients.vocabulary) {
            sum.add_one(id, gradient);
        }
        let device = packed.device();
        let dims = [batch.rows() * batch.width(), packed.dims()[1]];
        let slope = self.slope.take().unwrap_or_else(|| Tensor::full(dims, 0.0, &device));
        let places = index(&batch.predictors(), &device);
        self.slope = Some(slope.select_assign(0, places, gradients.hidden, IndexingUpdateOp::Add));
        Ok(())
    }
}
