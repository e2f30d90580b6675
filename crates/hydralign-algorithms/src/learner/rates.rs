use super::Learner;
use crate::AlgorithmError;
use crate::settings::check_not_negative;
use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrSchedulerConfig};
use burn::module::{ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::Tensor;
use hydralign_core::Differentiable;

/// Parameters that learn at a rate of their own.
#[derive(Clone)]
pub(super) struct RateGroup {
    paths: ParamGroup,
    /// Times the step's rate.
    pub(super) factor: f64,
}

impl<M: Differentiable> Learner<M> {
    /// The same learner where the trained parameters whose paths match a regular expression learn at `factor` times
    /// the rate of each step. Where several match, the last one given counts. Records do not hold the rates.
    ///
    /// In a model bank, `^critic_head` and `^reward_head` are the heads, and `^adapters.*\.b$` the matrices B of
    /// adapters, which LoRA+ gives 16 times the rate of A (Hayou et al. 2024).
    ///
    /// # Errors
    /// [`AlgorithmError::Rates`] for a pattern that is none or matches nothing; [`AlgorithmError::Setting`] unless
    /// the factor is finite and not negative.
    pub fn with_rate(mut self, paths: &str, factor: f64) -> Result<Self, AlgorithmError> {
        check_not_negative("factor", factor)?;
        let refused = |reason| AlgorithmError::Rates { paths: paths.to_owned(), reason };
        let group = ParamGroup::from_regex(paths).map_err(|e| refused(format!("{e:?}")))?;
        let trained = self.trained();
        if !trained.iter().any(|(id, path)| group.matches(id, Some(path))) {
            let first = trained.first().map_or("there are none", |(_, path)| path);
            return Err(refused(format!("it matches no trained parameter; the first is {first}")));
        }
        self.rates.push(RateGroup { paths: group, factor });
        Ok(self)
    }

    /// The paths of the parameters that are trained, as [`Learner::with_rate`] matches them.
    pub fn trained_paths(&self) -> Vec<String> {
        self.trained().into_iter().map(|(_, path)| path).collect()
    }

    fn trained(&self) -> Vec<(ParamId, String)> {
        let mut paths = Paths::default();
        self.model().visit(&mut paths);
        paths.trained
    }

    /// The rate of each parameter in a step.
    pub(super) fn module_rates(&self, lr: f64) -> Result<ModuleLearningRate, AlgorithmError> {
        if self.rates.is_empty() {
            return Ok(lr.into());
        }
        let base = ModuleLrSchedulerConfig::new(LrSchedulerConfig::Constant(lr));
        let rates = self.rates.iter().fold(base, |rates, RateGroup { paths, factor }| {
            rates.with_group(paths.clone(), LrSchedulerConfig::Constant(factor * lr))
        });
        let mut rates = rates.init().map_err(|reason| {
            let paths = "all groups".to_owned();
            AlgorithmError::Rates { paths, reason }
        })?;
        Ok(rates.step())
    }
}

#[derive(Default)]
struct Paths {
    at: Vec<String>,
    trained: Vec<(ParamId, String)>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.at.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.at.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.trained.push((param.id, self.at.join(".")));
        }
    }
}
