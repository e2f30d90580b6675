use crate::{AlgorithmError, Epochs, Learner, Order as _};
use hydralign_core::{CoreError, Differentiable, Objective, TokenBatch};

/// Numbers of the updates on one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateReport {
    /// Optimizer steps taken.
    pub steps: usize,
    /// Steps that the settings ask for.
    pub planned: usize,
    /// Statistics, means over the steps taken; `first_` before a name is of the first minibatch.
    pub stats: Vec<(String, f64)>,
}

impl UpdateReport {
    /// The statistic of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.stats.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    fn add(&mut self, name: &str, value: f64) {
        match self.stats.iter_mut().find(|(n, _)| n == name) {
            Some((_, sum)) => *sum += value,
            None => self.stats.push((name.to_owned(), value)),
        }
    }
}

/// Steps on every minibatch of a rollout, until the objective's `approx_kl` exceeds `target_kl`:
/// the minibatch that shows it is not stepped on.
///
/// # Errors
/// As [`Learner::step`]; the learner then holds the weights of the last good step.
pub(crate) fn update_on_rollout<M: Differentiable, O: Objective>(
    learner: &mut Learner<M>,
    objective: &O,
    epochs: &Epochs,
    lr: f64,
    target_kl: Option<f64>,
    batch: impl Fn(&[usize]) -> Result<Vec<(TokenBatch, O::Batch)>, CoreError>,
) -> Result<UpdateReport, AlgorithmError> {
    let mut report = UpdateReport { planned: epochs.steps(), ..UpdateReport::default() };
    for indices in epochs.minibatches() {
        let gradients = learner.gradients(objective, &batch(&indices)?)?;
        let kl = gradients.report.get("approx_kl").unwrap_or(0.0);
        if report.steps > 0 && target_kl.is_some_and(|target| kl > target) {
            break;
        }
        let step = learner.apply(gradients, lr)?;
        let all = step.stats.iter().copied();
        for (name, value) in all.chain([("loss", step.loss), ("grad_norm", step.grad_norm)]) {
            if report.steps == 0 {
                report.add(&format!("first_{name}"), value);
            }
            report.add(name, value);
        }
        report.steps += 1;
    }
    let steps = report.steps.max(1) as f64;
    for (name, value) in &mut report.stats {
        *value /= if name.starts_with("first_") { 1.0 } else { steps };
    }
    Ok(report)
}
