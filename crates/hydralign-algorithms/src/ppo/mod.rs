//! Proximal policy optimisation for language models (Schulman et al. 2017; Ziegler et al. 2019;
//! the details of Huang et al. 2024). One code path for all five placements.

mod config;
mod experience;
mod loss;
mod parts;
mod update;

pub use config::PpoConfig;
pub use experience::{Experience, Sample};
pub use loss::{PpoBatch, PpoObjective, policy_loss, value_loss};
pub use parts::PpoParts;

use crate::AlgorithmError;
use hydralign_advantage::{AdvantageEstimator, Gae, KlController, Moments, ScoreNormaliser};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What PPO carries from one iteration to the next, beside the learner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoState {
    /// β of the next iteration.
    pub kl_coef: f64,
    /// Moments of the scores so far.
    pub scores: Moments,
}

/// PPO with its state between iterations: the KL controller and the score statistics.
pub struct Ppo {
    config: PpoConfig,
    kl: Box<dyn KlController + Send>,
    advantages: Arc<dyn AdvantageEstimator + Send + Sync>,
    normaliser: ScoreNormaliser,
}

impl Ppo {
    /// PPO at its start.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: PpoConfig) -> Result<Self, AlgorithmError> {
        Self::with_parts(config, &PpoParts::default())
    }

    /// PPO at its start, with parts of your own in the place of those that the settings describe.
    ///
    /// # Errors
    /// The first setting that is out of its range, of parts that are replaced too.
    pub fn with_parts(config: PpoConfig, parts: &PpoParts) -> Result<Self, AlgorithmError> {
        config.validate()?;
        let kl = match &parts.kl {
            Some(kl) => kl(),
            None => config.kl.controller()?,
        };
        let gae = Gae { gamma: config.gamma, lambda: config.lambda };
        let advantages = parts.advantages.clone().unwrap_or_else(|| Arc::new(gae));
        let normaliser = ScoreNormaliser::new(config.score_normalisation)?;
        Ok(Self { config, kl, advantages, normaliser })
    }

    /// The settings.
    pub fn config(&self) -> &PpoConfig {
        &self.config
    }

    /// From now on reads and differentiates so many episodes at a time. Memory depends on it, results
    /// do not.
    ///
    /// # Errors
    /// A count of 0.
    pub fn set_rows(
        &mut self,
        score_batch: usize,
        micro_batch: usize,
    ) -> Result<(), AlgorithmError> {
        let config = PpoConfig { score_batch, micro_batch, ..self.config.clone() };
        config.validate()?;
        self.config = config;
        Ok(())
    }

    /// What is carried to the next iteration.
    pub fn state(&self) -> PpoState {
        PpoState { kl_coef: self.kl.coef(), scores: *self.normaliser.seen() }
    }

    /// Goes on from what an earlier part of the run carried.
    pub fn resume(&mut self, state: PpoState) {
        self.kl.resume(state.kl_coef);
        self.normaliser.resume(state.scores);
    }

    /// β of the next iteration.
    pub fn kl_coef(&self) -> f64 {
        self.kl.coef()
    }
}
