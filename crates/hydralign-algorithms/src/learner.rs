use crate::{AlgorithmError, clip_global_norm};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use hydralign_core::{Differentiable, Objective, TokenBatch};
use serde::{Deserialize, Serialize};

/// AdamW and the global gradient norm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// β₁.
    pub beta_1: f32,
    /// β₂.
    pub beta_2: f32,
    /// ε, added outside the root.
    pub epsilon: f32,
    /// Decoupled weight decay (Loshchilov & Hutter 2019).
    pub weight_decay: f32,
    /// Bound on the joint norm of all gradients; none measures it only.
    pub max_grad_norm: Option<f64>,
}

impl Default for OptimizerConfig {
    /// β = (0.9, 0.999), ε = 1e-5 (Huang et al. 2024), no decay, norm 1.
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-5,
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
        }
    }
}

/// Gradients of one minibatch, not yet applied.
pub struct Gradients {
    params: GradientsParams,
    /// What the minibatch gave.
    pub report: StepReport,
}

/// Numbers of one minibatch, before the step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepReport {
    /// The loss.
    pub loss: f64,
    /// The objective's statistics, summed over the micro-batches.
    pub stats: Vec<(&'static str, f64)>,
    /// Joint norm of all gradients, before clipping.
    pub grad_norm: f64,
}

impl StepReport {
    /// The statistic of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.stats.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}

/// A model with the optimizer that trains it.
///
/// Only parameters that received a gradient are stepped and get optimizer state.
pub struct Learner<M> {
    // Moved out for the time of a step, so that weights are updated in place.
    model: Option<M>,
    optimizer: ModuleOptimizer,
    max_grad_norm: Option<f64>,
}

impl<M: Differentiable> Learner<M> {
    /// A learner with fresh optimizer state.
    pub fn new(model: M, config: &OptimizerConfig) -> Self {
        let optimizer = AdamWConfig::new()
            .with_beta_1(config.beta_1)
            .with_beta_2(config.beta_2)
            .with_epsilon(config.epsilon)
            .with_weight_decay(config.weight_decay)
            .init();
        Self { model: Some(model), optimizer, max_grad_norm: config.max_grad_norm }
    }

    /// The model as it is now.
    pub fn model(&self) -> &M {
        self.model.as_ref().expect("the model is only away during a step")
    }

    /// Gives the model back.
    pub fn into_model(self) -> M {
        self.model.expect("the model is only away during a step")
    }

    /// Changes the model outside of an optimizer step, as where copies follow trained weights.
    pub fn change_model(&mut self, change: impl FnOnce(M) -> M) {
        self.model = self.model.take().map(change);
    }

    /// Number of optimizer tensors: two moments for each parameter that was ever stepped.
    pub fn optimizer_tensors(&self) -> usize {
        self.optimizer.to_record().len()
    }

    /// The gradient of an objective over a minibatch, micro-batch by micro-batch.
    ///
    /// The batches carry the weights of the *whole* minibatch, so that the sum of their losses
    /// is its loss, whatever the split.
    ///
    /// # Errors
    /// [`AlgorithmError::NonFinite`] for a loss or gradient that is not finite;
    /// [`AlgorithmError::Empty`] without batches; what reading or loss report.
    pub fn gradients<O: Objective>(
        &self,
        objective: &O,
        micro_batches: &[(TokenBatch, O::Batch)],
    ) -> Result<Gradients, AlgorithmError> {
        let model = self.model();
        let requests = objective.reads();
        let mut report = StepReport::default();
        let mut accumulator = GradientsAccumulator::new();
        for (tokens, batch) in micro_batches {
            let gradients = model.differentiate(&requests, tokens, |outputs| {
                let loss = objective.loss(outputs, batch)?;
                add_numbers(&mut report, &loss.value, &loss.stats);
                match report.loss {
                    value if value.is_finite() => Ok(loss.value),
                    value => Err(AlgorithmError::NonFinite { what: "the loss", value }),
                }
            })?;
            accumulator.accumulate(model, gradients);
        }
        if micro_batches.is_empty() {
            return Err(AlgorithmError::Empty { what: "micro-batches" });
        }
        let (params, norm) = clip_global_norm(model, accumulator.grads(), self.max_grad_norm);
        report.grad_norm = norm;
        if !norm.is_finite() {
            return Err(AlgorithmError::NonFinite { what: "the gradient norm", value: norm });
        }
        Ok(Gradients { params, report })
    }

    /// One optimizer step with these gradients.
    pub fn apply(&mut self, gradients: Gradients, lr: f64) -> StepReport {
        let model = self.model.take().expect("the model is only away during a step");
        self.model = Some(self.optimizer.step(lr, model, gradients.params));
        gradients.report
    }

    /// Gradients and step in one.
    ///
    /// # Errors
    /// As [`Learner::gradients`]; the weights are unchanged then.
    pub fn step<O: Objective>(
        &mut self,
        objective: &O,
        micro_batches: &[(TokenBatch, O::Batch)],
        lr: f64,
    ) -> Result<StepReport, AlgorithmError> {
        let gradients = self.gradients(objective, micro_batches)?;
        Ok(self.apply(gradients, lr))
    }
}

/// Adds the numbers of a micro-batch, fetched from the device in one transfer.
fn add_numbers(report: &mut StepReport, loss: &Tensor<1>, stats: &[(&'static str, Tensor<1>)]) {
    let tensors = std::iter::once(loss).chain(stats.iter().map(|(_, t)| t));
    let all = tensors.map(|t| t.clone().without_autodiff()).collect();
    let numbers = Tensor::cat(all, 0).into_data();
    let mut numbers = numbers.iter::<f32>().map(f64::from);
    report.loss += numbers.next().unwrap_or(f64::NAN);
    for ((name, _), value) in stats.iter().zip(numbers) {
        match report.stats.iter_mut().find(|(n, _)| n == name) {
            Some((_, sum)) => *sum += value,
            None => report.stats.push((name, value)),
        }
    }
}
