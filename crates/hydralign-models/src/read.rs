use crate::predict::{
    Predictions, chosen, index, log_prob, log_sum_exp, misfit, predict_at_once, targets,
};
use crate::trunk::Trunk;
use crate::weights::weight;
use crate::{ModelBank, ValueHead};
use burn::tensor::Tensor;
use hydralign_core::{
    ActionHead, CoreError, Gradient, Outputs, Reading, Request, Role, Roles, TokenBatch,
};
use hydralign_placement::View;
use std::num::NonZeroUsize;

/// The requests that one trunk pass answers.
pub(crate) struct Group {
    pub(crate) view: View,
    pub(crate) gradient: Gradient,
    requests: Vec<Request>,
}

impl Group {
    pub(crate) fn reads(&self, which: impl Fn(Reading) -> bool) -> bool {
        self.requests.iter().any(|r| which(r.reading))
    }
}

/// Output states of a pass: all of them, and those that predict a response token.
pub(crate) struct States {
    hidden: Tensor<2>,
    pub(crate) packed: Option<Tensor<2>>,
}

impl States {
    pub(crate) fn new(hidden: Tensor<2>, group: &Group, batch: &TokenBatch) -> Self {
        let per_token = group.reads(|r| !matches!(r, Reading::Score(_) | Reading::PrefixValues(_)));
        let device = hidden.device().without_autodiff();
        let packed =
            per_token.then(|| hidden.clone().select(0, index(&batch.predictors(), &device)));
        Self { hidden, packed }
    }
}

impl<V: ValueHead> Roles for ModelBank<V> {
    /// Answers every request. Log-probabilities and entropies that nothing trained stands behind,
    /// or that are read without a gradient, are computed in pieces if the bank's execution says
    /// so; with a gradient the whole graph is kept, and `differentiate` is what saves memory.
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        let mut outputs = Outputs::new();
        for group in self.groups(requests)? {
            self.answer(&group, batch, &mut outputs)?;
        }
        Ok(outputs)
    }
}

impl<V: ValueHead> ModelBank<V> {
    /// One group per trunk pass; a pass keeps its graph if any of its requests needs it.
    pub(crate) fn groups(&self, requests: &[Request]) -> Result<Vec<Group>, CoreError> {
        let roles: Vec<Role> = requests.iter().map(|r| r.reading.role()).collect();
        let passes = self.placement.passes(&roles)?;
        let group = |pass: hydralign_placement::Pass| {
            let serves = |r: &&Request| pass.roles.contains(&r.reading.role());
            let requests: Vec<Request> = requests.iter().filter(serves).copied().collect();
            let gradient = requests.iter().map(|r| r.gradient).max().unwrap_or(Gradient::Off);
            Group { view: pass.view, gradient, requests }
        };
        Ok(passes.into_iter().map(group).collect())
    }

    /// Whether the pass of a group is differentiated: asked for, and something below the heads
    /// is trained.
    pub(crate) fn learns(&self, group: &Group) -> bool {
        group.gradient == Gradient::On && self.placement.is_trainable(&group.view)
    }

    /// Tokens per piece of the vocabulary's visits.
    pub(crate) fn chunk(&self) -> Option<NonZeroUsize> {
        self.execution.logprob_chunk.and_then(NonZeroUsize::new)
    }

    pub(crate) fn answer(
        &self,
        group: &Group,
        batch: &TokenBatch,
        outputs: &mut Outputs,
    ) -> Result<(), CoreError> {
        let (trunk, lens) = self.look(&group.view, group.gradient)?;
        check_fits(trunk, batch)?;
        let hidden = trunk.hidden(&batch.padded(), batch.rows(), lens);
        let states = States::new(hidden, group, batch);
        let entropies = group.reads(|r| matches!(r, Reading::Entropy(_)));
        let packed = states.packed.as_ref().filter(|_| group.reads(Reading::needs_logits));
        let predictions = match (packed, self.chunk()) {
            (Some(packed), Some(chunk)) if !self.learns(group) => {
                let targets = targets(batch, &trunk.device());
                let kernel = log_prob(trunk, batch, chunk)?;
                let found = kernel.forward(packed.clone(), targets, entropies).map_err(misfit)?;
                Some(Predictions { logprobs: found.logprobs, entropies: found.entropies })
            }
            (Some(packed), _) => {
                Some(predict_at_once(trunk, packed.clone(), batch, group.gradient, entropies)?)
            }
            (None, _) => None,
        };
        self.fill(group, &states, predictions.as_ref(), batch, outputs)
    }

    /// Every reading of a group, from the states of its pass.
    pub(crate) fn fill(
        &self,
        group: &Group,
        states: &States,
        predictions: Option<&Predictions>,
        batch: &TokenBatch,
        outputs: &mut Outputs,
    ) -> Result<(), CoreError> {
        for request in &group.requests {
            let value =
                self.reading(request.reading, group.gradient, states, predictions, batch)?;
            let value = match request.gradient {
                Gradient::On => value,
                Gradient::Off => value.without_autodiff(),
            };
            outputs.insert(request.reading, value);
        }
        Ok(())
    }

    fn reading(
        &self,
        reading: Reading,
        gradient: Gradient,
        states: &States,
        predictions: Option<&Predictions>,
        batch: &TokenBatch,
    ) -> Result<Tensor<1>, CoreError> {
        let States { hidden, packed } = states;
        let device = hidden.device().without_autodiff();
        let at = |positions: Vec<usize>| hidden.clone().select(0, index(&positions, &device));
        match (reading, packed, predictions) {
            (Reading::Logprobs(_), _, Some(Predictions { logprobs, .. })) => Ok(logprobs.clone()),
            (Reading::Entropy(_), _, Some(Predictions { entropies: Some(entropies), .. })) => {
                Ok(entropies.clone())
            }
            (Reading::Values(role), Some(packed), _) => self.scalar(role, packed.clone(), gradient),
            (Reading::ActionValue(head), Some(packed), _) => {
                let q = self.action_values(head, packed.clone(), gradient)?;
                Ok(chosen(q, batch, &device))
            }
            (Reading::ActionLogSum(head), Some(packed), _) => {
                Ok(log_sum_exp(self.action_values(head, packed.clone(), gradient)?))
            }
            (Reading::PrefixValues(role), _, _) => {
                self.scalar(role, at(batch.response_positions()), gradient)
            }
            (Reading::Score(role), _, _) => self.scalar(role, at(batch.last_positions()), gradient),
            _ => Err(CoreError::MissingReading { reading }),
        }
    }

    fn action_values(
        &self,
        head: ActionHead,
        hidden: Tensor<2>,
        gradient: Gradient,
    ) -> Result<Tensor<2>, CoreError> {
        let head = self.action_heads.as_ref().and_then(|heads| heads.head(head));
        Ok(head.ok_or(CoreError::NoActionHeads)?.forward(hidden, gradient))
    }

    fn scalar(
        &self,
        role: Role,
        hidden: Tensor<2>,
        gradient: Gradient,
    ) -> Result<Tensor<1>, CoreError> {
        let value = match role {
            Role::Critic => self.critic_head.as_ref().map(|head| head.forward(hidden, gradient)),
            Role::Reward => self.reward_head.as_ref().map(|head| head.forward(hidden, gradient)),
            Role::Actor | Role::Reference => None,
        };
        value.ok_or(CoreError::NoHead { role })
    }
}

pub(crate) fn check_fits(trunk: &Trunk, batch: &TokenBatch) -> Result<(), CoreError> {
    let (context, vocab) = (trunk.architecture.context, trunk.architecture.shape.vocab);
    for (row, sequence) in batch.sequences().iter().enumerate() {
        let needed = sequence.len();
        if needed > context {
            return Err(CoreError::ContextExceeded { row, needed, context });
        }
        check_tokens(row, &sequence.prompt, vocab)?;
        check_tokens(row, &sequence.response, vocab)?;
    }
    Ok(())
}

pub(crate) fn check_tokens(row: usize, tokens: &[u32], vocab: usize) -> Result<(), CoreError> {
    match tokens.iter().find(|&&t| t as usize >= vocab) {
        Some(&token) => Err(CoreError::TokenOutOfRange { row, token, vocab }),
        None => Ok(()),
    }
}

impl<V: ValueHead> ModelBank<V> {
    /// Logits of every position of right-padded rows through a role's view, without a graph.
    ///
    /// # Shapes
    /// `[rows, width, vocab]`; positions past a row's own length are meaningless.
    ///
    /// # Errors
    /// A role that the placement does not serve, or a batch that does not fit.
    pub fn all_logits(&self, role: Role, batch: &TokenBatch) -> Result<Tensor<3>, CoreError> {
        let view = self.placement.view(role)?;
        let (trunk, lens) = self.look(view, Gradient::Off)?;
        check_fits(trunk, batch)?;
        let hidden = trunk.hidden(&batch.padded(), batch.rows(), lens);
        let vocab = trunk.architecture.shape.vocab;
        Ok(trunk.logits(hidden, Gradient::Off)?.reshape([batch.rows(), batch.width(), vocab]))
    }

    /// Hidden states of every position of right-padded rows through a role's view, without a graph: after `layer`
    /// blocks. 0 gives the embeddings; the number of blocks gives the output states, which have passed the final norm
    /// and which heads read.
    ///
    /// # Shapes
    /// `[rows, width, hidden]`, for output states `[rows, width, output width]`; positions past a row's own length
    /// are meaningless.
    ///
    /// # Errors
    /// A role that the placement does not serve, a batch that does not fit, or a layer that is not there.
    ///
    /// Source of what each layer is: transformers' `output_hidden_states`.
    pub fn hidden_states(
        &self,
        role: Role,
        batch: &TokenBatch,
        layer: usize,
    ) -> Result<Tensor<3>, CoreError> {
        let (trunk, lens) = self.look(self.placement.view(role)?, Gradient::Off)?;
        check_fits(trunk, batch)?;
        let hidden = trunk.hidden_after(&batch.padded(), batch.rows(), lens, layer)?;
        let width = hidden.dims()[1];
        Ok(hidden.reshape([batch.rows(), batch.width(), width]))
    }
}

impl ModelBank {
    /// The weights of a role's scalar head, `[hidden]`, for reports and tests.
    ///
    /// # Errors
    /// [`CoreError::NoHead`] for a role without one.
    pub fn head_weights(&self, role: Role) -> Result<Tensor<1>, CoreError> {
        let head = self.head(role).ok_or(CoreError::NoHead { role })?;
        Ok(weight(&head.weight, Gradient::Off).flatten(0, 1))
    }
}
