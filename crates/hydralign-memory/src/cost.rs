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

impl Estimate<'_> {
    /// The cost of one item, with one epoch of learning.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn cost(&self) -> Result<Cost, MemoryError> {
        let mut cost = Cost::default();
        for activity in &self.method.activities {
            self.add_cost(activity, &mut cost)?;
        }
        Ok(cost)
    }

    fn add_cost(&self, activity: &Activity, cost: &mut Cost) -> Result<(), MemoryError> {
        let (shape, w) = (&self.architecture.shape, self.workload);
        let [prompt, response] = [w.prompt_tokens, w.response_tokens].map(|n| n as u64);
        let requests: Vec<Request> = match &activity.work {
            Work::Generate(_) => {
                cost.generate =
                    sum(WHAT, &[cost.generate, generate_flops(shape, prompt, response)?])?;
                cost.passes += 1;
                return Ok(());
            }
            Work::Read(readings) => readings.iter().map(|&r| Request::constant(r)).collect(),
            Work::Learn(requests) => requests.clone(),
        };
        let roles: Vec<Role> = requests.iter().map(|r| r.reading.role()).collect();
        for pass in activity.placement.passes(&roles)? {
            let served = || requests.iter().filter(|r| pass.roles.contains(&r.reading.role()));
            let predicted = if served().any(|r| r.reading.needs_logits()) { response } else { 0 };
            let tokens = PassTokens { tokens: w.tokens()?, predicted };
            let trained =
                activity.placement.trunks.get(pass.view.trunk).is_some_and(|t| t.trainable);
            let (flops, learns) = match served().any(|r| r.gradient) {
                true => (train_flops(shape, tokens, trained)?, true),
                false => (forward_flops(shape, tokens)?, false),
            };
            let flops = product(WHAT, &[activity.sequences, flops])?;
            let total = if learns { &mut cost.learn } else { &mut cost.read };
            *total = sum(WHAT, &[*total, flops])?;
            cost.passes += activity.sequences;
        }
        Ok(())
    }
}
