use crate::Values;
use hydralign_algorithms::StepReport;

/// Means over the optimizer steps of an iteration.
#[derive(Default)]
pub(crate) struct Means {
    sums: Values,
    steps: usize,
}

impl Means {
    pub(crate) fn add(&mut self, report: &StepReport) {
        let shared = [("loss", report.loss), ("grad_norm", report.grad_norm)];
        for (name, value) in report.stats.iter().copied().chain(shared) {
            match self.sums.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += value,
                None => self.sums.push((name.to_owned(), value)),
            }
        }
        self.steps += 1;
    }

    /// The means, and how many steps there were.
    pub(crate) fn values(self) -> Values {
        let steps = self.steps as f64;
        let mean = |(name, sum): (String, f64)| (name, sum / steps);
        self.sums.into_iter().map(mean).chain([("update_steps".into(), steps)]).collect()
    }
}
