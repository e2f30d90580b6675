use crate::RunError;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate falls after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// In a straight line to zero.
    #[default]
    Linear,
    /// Along half a cosine to zero.
    Cosine,
}

/// A learning rate as a function of the step alone.
///
/// With warm-up W, steps T and step s from 1:
///
/// ```text
/// s ≤ W:     lr = peak · s / (W + 1)
/// s > W:     p  = (s − 1 − W) / (T − W)            progress, 0 at the first full step
///   constant lr = peak
///   linear   lr = peak · (1 − p)
///   cosine   lr = peak · (1 + cos πp) / 2
/// ```
///
/// Linear without warm-up is PPO's annealing: `1 − (update − 1) / updates`, as in "The N+
/// implementation details of RLHF with PPO" (arXiv 2403.17031). The decays are those of
/// `transformers.get_{linear,cosine}_schedule_with_warmup`. Departure: there the first warm-up
/// step has a rate of zero, which in PPO would spend a whole rollout to learn nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// How it falls.
    #[serde(default)]
    pub decay: Decay,
    /// Warm-up steps W, below the peak.
    #[serde(default)]
    pub warmup: usize,
}

impl Schedule {
    /// Always the same rate.
    pub fn constant(peak: f64) -> Self {
        Self { peak, decay: Decay::Constant, warmup: 0 }
    }

    /// Linear to zero, without warm-up.
    pub fn linear(peak: f64) -> Self {
        Self { peak, decay: Decay::Linear, warmup: 0 }
    }

    /// Checks the peak: between 0 and 1, at which a step of AdamW makes noise of any model.
    ///
    /// # Errors
    /// [`RunError::Setting`].
    pub fn validate(&self) -> Result<(), RunError> {
        let (field, value) = ("peak".to_owned(), self.peak);
        match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(RunError::Setting { field, value, expected: "between 0 and 1" }),
        }
    }

    /// The learning rate of `step`, from 1, of `steps`. After the last step it stays where the
    /// decay ends: zero, or the peak of a constant rate.
    pub fn lr(&self, step: usize, steps: usize) -> f64 {
        if step <= self.warmup {
            return self.peak * step as f64 / (self.warmup + 1) as f64;
        }
        let done = (step - 1 - self.warmup) as f64;
        let progress = (done / steps.saturating_sub(self.warmup).max(1) as f64).min(1.0);
        let share = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => (1.0 + (PI * progress).cos()) / 2.0,
        };
        self.peak * share
    }

    /// The highest learning rate of so many steps: below the peak where the warm-up takes them all.
    pub fn highest(&self, steps: usize) -> f64 {
        self.lr(steps.min(self.warmup + 1), steps)
    }
}
