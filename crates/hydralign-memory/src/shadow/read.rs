//! Readings of a batch, as the model bank answers them.

use super::flat::Flat;
use super::forward::Pass;
use super::tape::Var;
use super::weights::Bank;
use crate::{Category, MemoryError, Reading, Request, Workload};
use hydralign_families::Architecture;
use hydralign_placement::{Role, View};

/// How much one model call reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) rows: u64,
    pub(crate) tokens: u64,
    pub(crate) response: u64,
}

/// The requests that one trunk pass answers.
pub(crate) struct Group {
    pub(crate) view: View,
    pub(crate) graph: bool,
    pub(crate) requests: Vec<Request>,
}

/// A bank with what is needed to run it.
pub(crate) struct Model<'a> {
    pub(crate) bank: &'a Bank<'a>,
    pub(crate) architecture: &'a Architecture,
    pub(crate) workload: &'a Workload,
}

impl Model<'_> {
    /// One group per trunk pass; a pass keeps its graph if any of its requests needs it.
    pub(crate) fn groups(&self, requests: &[Request]) -> Result<Vec<Group>, MemoryError> {
        let roles: Vec<Role> = requests.iter().map(|r| r.reading.role()).collect();
        let passes = self.bank.placement.passes(&roles)?;
        let group = |pass: hydralign_placement::Pass| {
            let serves = |r: &&Request| pass.roles.contains(&r.reading.role());
            let requests: Vec<Request> = requests.iter().filter(serves).copied().collect();
            let graph = requests.iter().any(|r| r.gradient);
            Group { view: pass.view, graph, requests }
        };
        Ok(passes.into_iter().map(group).collect())
    }

    pub(crate) fn pass(
        &self,
        view: &View,
        graph: bool,
        rows: u64,
        positions: [u64; 2],
    ) -> Pass<'_> {
        let (trunk, adapter) = self.bank.look(view);
        Pass {
            store: &self.bank.store,
            architecture: self.architecture,
            trunk,
            adapter,
            graph,
            rows,
            queries: positions[0],
            filled: positions[1],
        }
    }

    /// Everything that is asked for, pass by pass.
    pub(crate) fn read(
        &self,
        requests: &[Request],
        batch: Batch,
    ) -> Result<Vec<(Request, Var)>, MemoryError> {
        let mut outputs = Vec::new();
        for group in self.groups(requests)? {
            let scope = if group.graph { Category::Activations } else { Category::Workspace };
            let answers = self.bank.store.book().under(scope, || self.answer(&group, batch));
            outputs.extend(answers);
        }
        Ok(outputs)
    }

    pub(crate) fn answer(&self, group: &Group, batch: Batch) -> Vec<(Request, Var)> {
        let pass = self.pass(&group.view, group.graph, batch.rows, [batch.tokens, batch.tokens]);
        let hidden = pass.hidden(None);
        let in_pieces = match self.log_prob(&pass, group).filter(|_| !self.learns(group)) {
            Some(kernel) => {
                let packed = hidden.flat.clone().select(batch.rows * batch.response);
                drop(kernel.forward(self.bank.store.book(), &packed));
                true
            }
            None => false,
        };
        self.readings(&pass, group, hidden, batch, in_pieces)
    }

    /// The readings of output states; with the vocabulary in pieces, log-probabilities and entropies are
    /// known already and no graph leads from them to the states.
    pub(crate) fn readings(
        &self,
        pass: &Pass<'_>,
        group: &Group,
        hidden: Var,
        batch: Batch,
        in_pieces: bool,
    ) -> Vec<(Request, Var)> {
        let reads = |f: fn(Reading) -> bool| group.requests.iter().any(|r| f(r.reading));
        let response = batch.rows.saturating_mul(batch.response);
        let packed = reads(|r| !matches!(r, Reading::Score(_))).then(|| {
            let _predictors = pass.index(response);
            hidden.clone().select(response)
        });
        let book = self.bank.store.book();
        let distribution = match &packed {
            Some(packed) if reads(Reading::needs_logits) && !in_pieces => {
                let logits = || pass.logits(packed.clone()).log_softmax();
                Some(book.under(Category::Logits, logits))
            }
            _ => None,
        };
        let one = |request: &Request| {
            let value = match (request.reading, &packed, &distribution) {
                (Reading::Logprobs(_) | Reading::Entropy(_), ..) if in_pieces => {
                    let known = Flat::new(book, &[response], pass.width());
                    self.bank.store.tape().input(known).0
                }
                (Reading::Logprobs(_), _, Some(log_p)) => book.under(Category::Logits, || {
                    let _targets = pass.index(response);
                    log_p.clone().gather().reshape(&[response])
                }),
                (Reading::Entropy(_), _, Some(log_p)) => book.under(Category::Logits, || {
                    let p = log_p.clone().exp();
                    p.mul(log_p.clone()).reduce(1).scale().reshape(&[response])
                }),
                (Reading::Values(role), Some(packed), _) => {
                    self.scalar(pass, role, packed.clone(), response)
                }
                (reading, ..) => {
                    let _last = pass.index(batch.rows);
                    let last = hidden.clone().select(batch.rows);
                    self.scalar(pass, reading.role(), last, batch.rows)
                }
            };
            (*request, if request.gradient { value } else { value.detach() })
        };
        group.requests.iter().map(one).collect()
    }

    fn scalar(&self, pass: &Pass<'_>, role: Role, hidden: Var, rows: u64) -> Var {
        match self.bank.heads.get(&role) {
            Some(&head) => hidden.matmul(self.bank.store.get(head, pass.graph)).reshape(&[rows]),
            None => hidden,
        }
    }
}
