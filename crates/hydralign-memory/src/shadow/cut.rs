//! Gradients with the vocabulary or the blocks taken in pieces, as the model bank takes them.

use super::flat::Flat;
use super::forward::{Pass, Sight};
use super::learn::Gradients;
use super::log_prob::LogProb;
use super::read::{Batch, Group, Model};
use super::tape::{Grads, Node, Var};
use crate::{Category, MemoryError, Reading, Request};
use std::ops::Range;

/// How to go back through the blocks.
enum Below {
    /// By the graph that ends in the output states.
    Graph(Var),
    /// Segment by segment, with what each read; none: final norm and projection.
    Segments(Box<Sight>, Vec<(Option<Range<usize>>, Flat)>),
}

/// A pass that was cut between its blocks and its heads.
struct CutPass<'a> {
    pass: Pass<'a>,
    below: Below,
    states: Node,
    head: Option<(LogProb, Flat, Vec<Flat>)>,
    outputs: Vec<(Request, Var)>,
}

impl Model<'_> {
    /// The LM head of a pass, if it is visited in pieces.
    pub(crate) fn log_prob(&self, pass: &Pass<'_>, group: &Group) -> Option<LogProb> {
        let chunk = self.workload.execution.logprob_chunk? as u64;
        let logits = group.requests.iter().any(|r| r.reading.needs_logits());
        let tied = pass.trunk.head.is_none();
        let id = pass.trunk.head.unwrap_or(pass.trunk.embedding);
        logits.then(|| LogProb {
            matrix: self.bank.store.get(id, false).flat,
            tied,
            capped: self.architecture.logit_softcap.is_some(),
            entropies: group.requests.iter().any(|r| matches!(r.reading, Reading::Entropy(_))),
            chunk,
        })
    }

    /// The gradients of one micro-batch, carried out in pieces.
    pub(crate) fn differentiate_in_pieces(
        &self,
        requests: &[Request],
        batch: Batch,
    ) -> Result<Gradients, MemoryError> {
        let book = self.bank.store.book().clone();
        let mut passes = Vec::new();
        for group in self.groups(requests)? {
            if self.learns(&group) {
                passes.push(self.cut_pass(&group, batch));
            } else {
                book.under(Category::Workspace, || drop(self.answer(&group, batch)));
            }
        }
        let outputs = passes.iter_mut().flat_map(|p| std::mem::take(&mut p.outputs)).collect();
        let mut grads = self.loss(outputs).map(Var::backward).unwrap_or_default();
        let slopes: Vec<Option<Flat>> = passes.iter().map(|p| grads.take(&p.states)).collect();
        let mut sums = self.collect(grads);
        for (pass, slope) in passes.into_iter().zip(slopes) {
            self.back(pass, slope, batch, &mut sums);
        }
        Ok(sums)
    }

    fn cut_pass<'a>(&'a self, group: &Group, batch: Batch) -> CutPass<'a> {
        let book = self.bank.store.book();
        let positions = [batch.tokens, batch.tokens];
        let pass = self.pass(&group.view, true, batch.rows, positions);
        let (hidden, below) = match self.workload.execution.segment_blocks {
            Some(size) => {
                let plain = self.pass(&group.view, false, batch.rows, positions);
                book.under(Category::Workspace, || plain.by_segments(size.max(1)))
            }
            None => {
                let hidden = book.under(Category::Activations, || pass.hidden(None));
                (hidden.flat.clone(), Below::Graph(hidden))
            }
        };
        let (leaf, states) = self.bank.store.tape().input(hidden);
        let head = self.log_prob(&pass, group).map(|kernel| {
            let packed = leaf.flat.clone().select(batch.rows.saturating_mul(batch.response));
            packed.recount(Category::Activations);
            let found = kernel.forward(book, &packed);
            (kernel, packed, found)
        });
        let outputs = book.under(Category::Activations, || {
            self.readings(&pass, group, leaf, batch, head.is_some())
        });
        CutPass { pass, below, states, head, outputs }
    }

    fn back(&self, pass: CutPass<'_>, slope: Option<Flat>, batch: Batch, sums: &mut Gradients) {
        let book = self.bank.store.book();
        let mut slope = slope;
        let CutPass { pass, below, head, .. } = pass;
        if let Some((kernel, packed, found)) = head {
            let id = pass.trunk.head.unwrap_or(pass.trunk.embedding);
            let trained = self.bank.store.is_trained(id);
            let (to_hidden, to_matrix) = kernel.backward(book, &packed, trained);
            if let Some(gradient) = to_matrix {
                add(&mut sums[id], gradient);
            }
            let width = packed.dims()[1];
            let dims = [batch.rows.saturating_mul(batch.tokens), width];
            let before = slope.take().unwrap_or_else(|| {
                book.under(Category::Workspace, || Flat::new(book, &dims, packed.width()))
            });
            slope = Some(book.under(Category::Workspace, || before.assign(to_hidden)));
            drop((packed, found));
        }
        let Some(slope) = slope else { return };
        match below {
            Below::Graph(states) => self.pull(states, slope, None, sums),
            Below::Segments(sight, parts) => self.segments(&pass, &sight, parts, slope, sums),
        }
    }

    /// Σ y ⊙ slope, differentiated.
    fn pull(
        &self,
        y: Var,
        slope: Flat,
        input: Option<(&Node, &mut Option<Flat>)>,
        sums: &mut Gradients,
    ) {
        let book = self.bank.store.book();
        let loss = book.under(Category::Workspace, || y.mul(Var::constant(slope)).sum());
        let mut grads = loss.backward();
        if let Some((node, below)) = input {
            *below = grads.take(node);
        }
        for (sum, new) in sums.iter_mut().zip(self.collect(grads)) {
            if let Some(new) = new {
                add(sum, new);
            }
        }
    }

    fn segments(
        &self,
        pass: &Pass<'_>,
        sight: &Sight,
        mut parts: Vec<(Option<Range<usize>>, Flat)>,
        slope: Flat,
        sums: &mut Gradients,
    ) {
        let book = self.bank.store.book();
        let embeds = self.bank.store.is_trained(pass.trunk.embedding);
        let mut slope = slope;
        while let Some((part, input)) = parts.pop() {
            let wanted = embeds || !parts.is_empty();
            let (leaf, node) = match wanted {
                true => {
                    let (leaf, node) = self.bank.store.tape().input(input);
                    (leaf, Some(node))
                }
                false => (Var::constant(input), None),
            };
            let y = book.under(Category::Activations, || pass.part(part, leaf, sight));
            if !y.is_tracked() {
                return;
            }
            let mut below = None;
            self.pull(y, slope, node.as_ref().map(|n| (n, &mut below)), sums);
            let Some(next) = below else { return };
            slope = next;
        }
        let x = book.under(Category::Activations, || pass.embed());
        self.pull(x, slope, None, sums);
    }

    /// The gradients of parameters among those of a backward pass.
    pub(crate) fn collect(&self, mut grads: Grads) -> Gradients {
        let take = |id| grads.take(&self.bank.store.node(id)?);
        (0..self.bank.store.count()).map(take).collect()
    }
}

impl Pass<'_> {
    /// One segment.
    fn part(&self, part: Option<Range<usize>>, x: Var, sight: &Sight) -> Var {
        match part {
            Some(blocks) => self.blocks(blocks, x, sight, None),
            None => self.finish(x),
        }
    }

    /// Output states without a graph, and the input of each segment.
    fn by_segments(&self, size: usize) -> (Flat, Below) {
        let sight = self.sight();
        let count = self.trunk.blocks.len();
        let blocks = (0..count)
            .step_by(size)
            .map(|first| Some(first..first.saturating_add(size).min(count)));
        let ends = self.trunk.norm.is_some() || self.trunk.project_out.is_some();
        let mut x = self.embed();
        let mut parts = Vec::new();
        for part in blocks.chain(ends.then_some(None)) {
            x.flat.recount(Category::Activations);
            parts.push((part.clone(), x.flat.clone()));
            x = self.part(part, x, &sight);
        }
        x.flat.recount(Category::Activations);
        (x.flat, Below::Segments(Box::new(sight), parts))
    }
}

/// Adds a gradient to a sum.
pub(crate) fn add(sum: &mut Option<Flat>, new: Flat) {
    let total = match sum.take() {
        Some(old) => old.binary(new),
        None => new,
    };
    total.recount(Category::Gradients);
    *sum = Some(total);
}
