mod rates;
mod record;

pub use record::LearnerRecord;

use crate::settings::{check, check_not_negative, check_positive};
use crate::{AlgorithmError, clip_global_norm};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use hydralign_core::{Differentiable, Objective, TokenBatch};
use rates::RateGroup;
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

/// The largest learning rate that is taken. A step of AdamW moves a weight by about the rate, so at 1 one
/// step makes noise of any model; and products of a few weights of a larger size overflow f32 in a forward
/// pass, although each weight is finite.
const LARGEST_RATE: f64 = 1.0;

impl OptimizerConfig {
    /// Checks the settings: 0 ≤ β < 1, ε > 0, no negative decay, a positive bound on the norm.
    ///
    /// # Errors
    /// [`AlgorithmError::Setting`] names the first that is out of range.
    pub fn validate(&self) -> Result<(), AlgorithmError> {
        for (field, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            check((0.0..1.0).contains(&beta), field, beta.into(), "at least 0 and below 1")?;
        }
        // Smaller ones are zero on devices that flush them, and then a gradient of zero is divided by it.
        let epsilon = self.epsilon;
        let normal = epsilon.is_finite() && epsilon >= f32::MIN_POSITIVE;
        check(normal, "epsilon", epsilon.into(), "above 0 and finite")?;
        check_not_negative("weight_decay", self.weight_decay.into())?;
        check_positive("max_grad_norm", self.max_grad_norm.unwrap_or(1.0))
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

    /// The statistics, then the loss, the norm and the learning rate of the step, by name: what an
    /// [`Observer`](hydralign_core::Observer) is told.
    pub fn values(&self, lr: f64) -> Vec<(String, f64)> {
        let shared = [("loss", self.loss), ("grad_norm", self.grad_norm), ("lr", lr)];
        let all = self.stats.iter().copied().chain(shared);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A model with the optimizer that trains it.
///
/// Only parameters that received a gradient are stepped and get optimizer state. A clone shares all tensors until
/// one of the two takes a step.
#[derive(Clone)]
pub struct Learner<M> {
    // Moved out for the time of a step, so that weights are updated in place.
    model: Option<M>,
    optimizer: ModuleOptimizer,
    /// What the optimizer is called in records.
    name: String,
    config: OptimizerConfig,
    rates: Vec<RateGroup>,
    steps: usize,
}

/// The name of the optimizer that a configuration makes.
const ADAMW: &str = "adamw";

impl<M: Differentiable> Learner<M> {
    /// A learner with fresh optimizer state.
    pub fn new(model: M, config: &OptimizerConfig) -> Self {
        let optimizer = AdamWConfig::new()
            .with_beta_1(config.beta_1)
            .with_beta_2(config.beta_2)
            .with_epsilon(config.epsilon)
            .with_weight_decay(config.weight_decay)
            .init();
        let (model, name) = (Some(model), ADAMW.to_owned());
        Self { model, optimizer, name, config: *config, rates: Vec::new(), steps: 0 }
    }

    /// A learner with any optimizer of burn, or one of your own: `SgdConfig::new().init()`, `Lion` …
    ///
    /// Records hold the name, and one of another name is refused. `max_grad_norm` bounds the joint norm of all
    /// gradients; burn's own clipping works tensor by tensor.
    ///
    /// ```
    /// # use hydralign_algorithms::Learner;
    /// # use hydralign_core::Differentiable;
    /// use burn::optim::LionConfig;
    ///
    /// # fn lion<M: Differentiable>(model: M) -> Learner<M> {
    /// Learner::with_optimizer(model, "lion", LionConfig::new().init(), Some(1.0))
    /// # }
    /// ```
    pub fn with_optimizer(
        model: M,
        name: &str,
        optimizer: impl Into<ModuleOptimizer>,
        max_grad_norm: Option<f64>,
    ) -> Self {
        let config = OptimizerConfig { max_grad_norm, ..OptimizerConfig::default() };
        let (model, name, optimizer) = (Some(model), name.to_owned(), optimizer.into());
        Self { model, optimizer, name, config, rates: Vec::new(), steps: 0 }
    }

    /// Optimizer steps taken so far.
    pub fn steps(&self) -> usize {
        self.steps
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
    /// [`AlgorithmError::Setting`] for optimizer settings out of range; [`AlgorithmError::Empty`] without batches; what reading or loss report.
    pub fn gradients<O: Objective>(
        &self,
        objective: &O,
        micro_batches: &[(TokenBatch, O::Batch)],
    ) -> Result<Gradients, AlgorithmError> {
        self.config.validate()?;
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
        let (params, norm) =
            clip_global_norm(model, accumulator.grads(), self.config.max_grad_norm);
        report.grad_norm = norm;
        if !norm.is_finite() {
            return Err(AlgorithmError::NonFinite { what: "the gradient norm", value: norm });
        }
        Ok(Gradients { params, report })
    }

    /// One optimizer step with these gradients.
    ///
    /// # Errors
    /// [`AlgorithmError::Setting`] for a rate that is not between 0 and 1, for every group; the weights are
    /// unchanged then.
    pub fn apply(&mut self, gradients: Gradients, lr: f64) -> Result<StepReport, AlgorithmError> {
        for lr in std::iter::once(lr).chain(self.rates.iter().map(|group| group.factor * lr)) {
            check((0.0..=LARGEST_RATE).contains(&lr), "learning rate", lr, "between 0 and 1")?;
            let decay = lr * f64::from(self.config.weight_decay);
            check(decay <= 1.0, "learning rate times weight_decay", decay, "at most 1")?;
        }
        let rates = self.module_rates(lr)?;
        let model = self.model.take().expect("the model is only away during a step");
        self.model = Some(self.optimizer.step(rates, model, gradients.params));
        self.steps += 1;
        Ok(gradients.report)
    }

    /// Gradients and step in one.
    ///
    /// # Errors
    /// As [`Learner::gradients`] and [`Learner::apply`]; the weights are unchanged then.
    pub fn step<O: Objective>(
        &mut self,
        objective: &O,
        micro_batches: &[(TokenBatch, O::Batch)],
        lr: f64,
    ) -> Result<StepReport, AlgorithmError> {
        let gradients = self.gradients(objective, micro_batches)?;
        self.apply(gradients, lr)
    }
}

/// Adds the numbers of a micro-batch, fetched from the device in one transfer.
pub(crate) fn add_numbers(
    report: &mut StepReport,
    loss: &Tensor<1>,
    stats: &[(&'static str, Tensor<1>)],
) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimizer_settings_that_would_make_weights_bad_are_refused() {
        let good = OptimizerConfig::default();
        assert!(good.validate().is_ok());
        let bad = [
            ("beta_1", OptimizerConfig { beta_1: f32::NAN, ..good }),
            ("beta_2", OptimizerConfig { beta_2: 1.0, ..good }),
            ("epsilon", OptimizerConfig { epsilon: 0.0, ..good }),
            ("epsilon", OptimizerConfig { epsilon: f32::INFINITY, ..good }),
            ("weight_decay", OptimizerConfig { weight_decay: -0.1, ..good }),
            ("max_grad_norm", OptimizerConfig { max_grad_norm: Some(0.0), ..good }),
        ];
        for (name, config) in bad {
            let refused = config.validate().unwrap_err();
            assert!(matches!(refused, AlgorithmError::Setting { field, .. } if field == name));
        }
    }
}
