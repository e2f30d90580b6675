use crate::{Job, MemoryError, PhaseName, Plan};

/// A meter may read this much above a prediction before the plan is doubted.
const TOLERANCE: f64 = 0.03;

/// A run's budget: a plan that fits it, made anew where a meter disagrees with the prediction.
#[derive(Clone, Debug)]
pub struct Budget<'a> {
    job: Job<'a>,
    bytes: u64,
    plan: Plan,
    /// Largest ratio of measured to predicted bytes so far; 1 while predictions hold.
    excess: f64,
}

impl<'a> Budget<'a> {
    /// A plan for a job within a number of bytes.
    ///
    /// # Errors
    /// As [`Job::plan`]: a run that cannot stay within its budget is not begun.
    pub fn new(job: Job<'a>, bytes: u64) -> Result<Self, MemoryError> {
        let plan = job.plan(bytes)?;
        Ok(Self { job, bytes, plan, excess: 1.0 })
    }

    /// The plan as it is now.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The budget.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells what a phase has held at most; true if the plan has changed.
    ///
    /// Where that is more than 3 % above the prediction, what is left is planned as if every prediction
    /// were too low by the same factor.
    ///
    /// # Errors
    /// [`MemoryError::NoFit`] where nothing fits any more.
    pub fn measured(&mut self, phase: PhaseName, bytes: u64) -> Result<bool, MemoryError> {
        let Some(predicted) = self.plan.prediction.get(phase) else { return Ok(false) };
        let ratio = bytes as f64 / predicted.total().max(1) as f64;
        if ratio <= (1.0 + TOLERANCE) * self.excess {
            return Ok(false);
        }
        self.excess = ratio;
        let plan = self.job.plan((self.bytes as f64 / ratio) as u64)?;
        let changed = plan.workload != self.plan.workload;
        self.plan = plan;
        Ok(changed)
    }
}
