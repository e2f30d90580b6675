//! Tensors of the passes through a trunk.

use crate::count::{product, sum};
use crate::kept::{Sizes, kept_by_block, kept_by_head};
use crate::{Estimate, Kept, MemoryError, Moment, PhaseName};
use hydralign_placement::{Role, Target, View};

const WHAT: &str = "the activations";

impl Estimate<'_> {
    /// Tensors of the trunk passes, with n = rows·tokens.
    ///
    /// * generate and score, in a block: the working set of that block, for the prompts of
    ///   `generate_batch` rows or the sequences of `score_batch` rows; at the head: the last
    ///   hidden states, n·h, and those that are read, positions·h;
    /// * update, in the last block: what the graphs of a micro-batch keep ([`kept_by_block`] in
    ///   every block, for each group of trained roles that share weights) and the gradient of
    ///   one set of attention scores; at the head: what the graphs keep; after the backward
    ///   pass: nothing.
    ///
    /// Passes without a graph run one after the other, so they count once.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn activations(&self, phase: PhaseName, moment: Moment) -> Result<u64, MemoryError> {
        let workload = self.workload;
        let tokens = workload.tokens()?;
        let response = workload.response_tokens as u64;
        let (rows, tokens, read) = match phase {
            PhaseName::Generate => (workload.generate_batch, workload.prompt_tokens as u64, 1),
            PhaseName::Score => (workload.score_batch, tokens, response),
            PhaseName::Update => (workload.micro_batch, tokens, response),
        };
        let rows = rows as u64;
        let sizes = Sizes::new(self.shape, rows, tokens)?;
        let elements = match (phase, moment) {
            (PhaseName::Update, Moment::Block) => sum(WHAT, &[self.graphs(rows)?, sizes.scores])?,
            (PhaseName::Update, Moment::Head) => self.graphs(rows)?,
            (_, Moment::Block) => self.working_set(phase, &sizes, tokens)?,
            (_, Moment::Head) => {
                sum(WHAT, &[sizes.hidden, product(WHAT, &[rows, read, self.shape.hidden as u64])?])?
            }
            (_, Moment::Step) => 0,
        };
        product(WHAT, &[elements, workload.dtype.bytes()])
    }

    /// Numbers alive at once inside one block without a graph.
    ///
    /// Its input and the causal bias, and the largest of: normalised input, queries, keys,
    /// values and two copies of the scores; normalised input, gate, its sigmoid and their
    /// product; where an adapter sits on the up projection, the gated part, both paths of the
    /// projection and their sum.
    fn working_set(&self, phase: PhaseName, s: &Sizes, n: u64) -> Result<u64, MemoryError> {
        let roles: &[Role] = match phase {
            PhaseName::Generate => &[Role::Actor],
            PhaseName::Score | PhaseName::Update => &[Role::Critic, Role::Reference, Role::Reward],
        };
        let views = &self.placement.views;
        let adapted = roles.iter().any(|r| views.get(r).is_some_and(|v| v.adapter.is_some()));
        let paths = if adapted && self.lora.targets.contains(&Target::Up) { 4 } else { 0 };
        let attention = sum(WHAT, &[s.hidden, s.queries, s.keys, s.keys, s.scores, s.scores])?;
        let gate = sum(WHAT, &[s.hidden, product(WHAT, &[3, s.inner])?])?;
        let up = product(WHAT, &[paths, s.inner])?;
        sum(WHAT, &[s.hidden, product(WHAT, &[n, n])?, attention.max(gate).max(up)])
    }

    /// Numbers that the graphs of the trained roles keep, for `rows` episodes.
    fn graphs(&self, rows: u64) -> Result<u64, MemoryError> {
        let trained: Vec<Role> = Role::ALL
            .into_iter()
            .filter(|r| self.placement.views.get(r).is_some_and(|v| self.placement.is_trainable(v)))
            .collect();
        let passes = self.placement.passes(&trained)?;
        let graphs: Result<Vec<u64>, _> =
            passes.iter().map(|pass| self.graph(&pass.view, rows)).collect();
        sum(WHAT, &graphs?)
    }

    /// Numbers that the graph of one pass keeps.
    fn graph(&self, view: &View, rows: u64) -> Result<u64, MemoryError> {
        let adapter = view.adapter.as_deref().and_then(|name| self.placement.adapter(name));
        let lora = adapter.filter(|a| a.trainable).map(|_| self.lora);
        let trunk = self.placement.trunks.get(view.trunk).is_some_and(|t| t.trainable);
        let tokens = self.workload.tokens()?;
        let response = self.workload.response_tokens as u64;
        let total = |kept: Vec<Kept>| -> Result<u64, MemoryError> {
            sum(WHAT, &kept.iter().map(|k| k.elements).collect::<Vec<_>>())
        };
        let block = total(kept_by_block(self.shape, rows, tokens, trunk, lora)?)?;
        let head = total(kept_by_head(self.shape, rows, tokens, response, trunk)?)?;
        sum(WHAT, &[product(WHAT, &[self.shape.layers as u64, block])?, head])
    }
}
