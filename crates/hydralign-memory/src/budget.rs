use crate::{Estimate, Job, MemoryError, PhaseName, Plan, Prediction, Workload};

/// A meter may read this much above a prediction before the plan is doubted.
const TOLERANCE: f64 = 0.03;

/// A run's budget: a plan that fits it, made anew where a meter disagrees with the prediction.
#[derive(Clone, Debug)]
pub struct Budget<'a> {
    job: Job<'a>,
    bytes: u64,
    plan: Plan,
    /// What phases are measured against: the plan's, or what it is for the lengths that are known by now.
    expected: Prediction,
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
        let expected = plan.prediction.clone();
        Ok(Self { job, bytes, plan, expected, excess: 1.0 })
    }

    /// The plan as it is now.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The budget.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells how long the longest prompt and the longest response of an iteration are. Plans are for the longest
    /// that there may be; what follows in this iteration is then measured against what these need.
    ///
    /// # Errors
    /// As [`Estimate::predict`].
    pub fn sampled(
        &mut self,
        prompt_tokens: usize,
        response_tokens: usize,
    ) -> Result<(), MemoryError> {
        let planned = &self.plan.workload;
        let workload = Workload {
            prompt_tokens: prompt_tokens.clamp(1, planned.prompt_tokens),
            response_tokens: response_tokens.clamp(1, planned.response_tokens),
            ..planned.clone()
        };
        let Job { method, architecture, lora, profile, .. } = self.job;
        let estimate = Estimate::new(method, architecture, lora, &workload, profile)?;
        self.expected = estimate.predict()?;
        Ok(())
    }

    /// Tells what a phase has held at most; true if the plan has changed.
    ///
    /// Where that is more than 3 % above the prediction, what is left is planned as if every prediction
    /// were too low by the same factor.
    ///
    /// # Errors
    /// [`MemoryError::NoFit`] where nothing fits any more.
    pub fn measured(&mut self, phase: PhaseName, bytes: u64) -> Result<bool, MemoryError> {
        if phase == PhaseName::Generate {
            self.expected = self.plan.prediction.clone(); // how long these are is not known yet
        }
        let Some(predicted) = self.expected.get(phase) else { return Ok(false) };
        let ratio = bytes as f64 / predicted.total().max(1) as f64;
        if ratio <= (1.0 + TOLERANCE) * self.excess {
            return Ok(false);
        }
        self.excess = ratio;
        let plan = self.job.plan((self.bytes as f64 / ratio) as u64)?;
        let changed = plan.workload != self.plan.workload;
        self.expected = plan.prediction.clone();
        self.plan = plan;
        Ok(changed)
    }
}
