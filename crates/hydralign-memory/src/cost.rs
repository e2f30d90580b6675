//! What an iteration costs in operations.

use crate::count::{product, sum};
use crate::{
    Activity, Estimate, MemoryError, PassTokens, Request, Work, forward_flops, generate_flops,
    train_flops,
};
use hydralign_placement::Role;

const WHAT: &str = "the operations of an iteration";

/// Operations and trunk passes of one item of the batch: an episode, a row or a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of sampling.
    pub generate: u64,
    /// Floating-point operations of reading without a graph.
    pub read: u64,
    /// Floating-point operations of one epoch of learning.
    pub learn: u64,
    /// Passes through a trunk over a whole sequence; sampling counts as one, a backward pass as none.
    pub passes: u64,
}

impl Cost {
    /// All operations of one epoch.
    pub fn flops(&self) -> u64 {
        self.generate.saturating_add(self.read).saturating_add(self.learn)
    }
}

/// A pass through a trunk that an activity makes for each of its batches.
pub(crate) struct TrunkPass {
    /// Whether log-probabilities are read.
    pub(crate) logits: bool,
    /// Whether it is differentiated.
    pub(crate) gradient: bool,
    /// Whether the trunk's own weights are trained.
    pub(crate) trained: bool,
}

impl Activity {
    /// The passes of one batch: one for all roles that share a view.
    pub(crate) fn passes(&self) -> Result<Vec<TrunkPass>, MemoryError> {
        let requests: Vec<Request> = match &self.work {
            Work::Generate(_) => Vec::new(),
            Work::Read(readings) => readings.iter().map(|&r| Request::constant(r)).collect(),
            Work::Learn(requests) => requests.clone(),
        };
        let roles: Vec<Role> = requests.iter().map(|r| r.reading.role()).collect();
        let pass = |pass: hydralign_placement::Pass| {
            let served = || requests.iter().filter(|r| pass.roles.contains(&r.reading.role()));
            TrunkPass {
                logits: served().any(|r| r.reading.needs_logits()),
                gradient: served().any(|r| r.gradient),
                trained: self.placement.trunks.get(pass.view.trunk).is_some_and(|t| t.trainable),
            }
        };
        Ok(self.placement.passes(&roles)?.into_iter().map(pass).collect())
    }
}

impl Estimate<'_> {
    /// The cost of one item, with one epoch of learning and nothing recomputed.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn cost(&self) -> Result<Cost, MemoryError> {
        let (shape, w) = (&self.architecture.shape, self.workload);
        let [prompt, response] = [w.prompt_tokens, w.response_tokens].map(|n| n as u64);
        let mut cost = Cost::default();
        for activity in &self.method.activities {
            if let Work::Generate(_) = activity.work {
                let flops = generate_flops(shape, prompt, response)?;
                cost.generate = sum(WHAT, &[cost.generate, flops])?;
                cost.passes += 1;
            }
            for pass in activity.passes()? {
                let predicted = if pass.logits { response } else { 0 };
                let tokens = PassTokens { tokens: w.tokens()?, predicted };
                let (flops, total) = match pass.gradient {
                    true => (train_flops(shape, tokens, pass.trained)?, &mut cost.learn),
                    false => (forward_flops(shape, tokens)?, &mut cost.read),
                };
                *total = sum(WHAT, &[*total, product(WHAT, &[activity.sequences, flops])?])?;
                cost.passes += activity.sequences;
            }
        }
        Ok(cost)
    }
}
