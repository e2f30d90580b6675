//! Policy gradients without a critic: one objective, one way of assigning credit, and one file of
//! settings for each published method.

mod aggregation;
mod config;
mod credit;
mod dapo;
mod dr_grpo;
mod experience;
mod grpo;
mod gspo;
mod loss;
mod reinforce_pp;
mod remax;
mod rloo;
mod update;

pub use aggregation::Aggregation;
pub use config::{CriticFreeConfig, KlInLoss};
pub use credit::{CreditRule, ReturnBaseline};
pub use dapo::{DynamicSampling, Informative};
pub use experience::{GroupExperience, GroupSample};
pub use loss::{PolicyBatch, PolicyGradient, RatioLevel, Surrogate};

use crate::AlgorithmError;

/// A policy-gradient method without a critic. It has no state between iterations.
#[derive(Clone, Debug)]
pub struct CriticFree {
    config: CriticFreeConfig,
}

impl CriticFree {
    /// The method with these settings.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: CriticFreeConfig) -> Result<Self, AlgorithmError> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The settings.
    pub fn config(&self) -> &CriticFreeConfig {
        &self.config
    }
}
