use crate::{AdvantageError, check};
use serde::{Deserialize, Serialize};

/// Chooses the coefficient β of the KL penalty.
pub trait KlController {
    /// The coefficient for the next batch.
    fn coef(&self) -> f64;

    /// Takes note of a batch: its KL per response
    /// ([`mean_sequence_kl`](crate::mean_sequence_kl)) and its number of episodes.
    fn update(&mut self, measured_kl: f64, samples: usize);

    /// Goes on from a coefficient that [`KlController::coef`] gave, in a run that is continued.
    fn resume(&mut self, coef: f64);
}

impl<C: KlController + ?Sized> KlController for Box<C> {
    fn coef(&self) -> f64 {
        (**self).coef()
    }

    fn update(&mut self, measured_kl: f64, samples: usize) {
        (**self).update(measured_kl, samples);
    }

    fn resume(&mut self, coef: f64) {
        (**self).resume(coef);
    }
}

/// A coefficient that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedKl {
    coef: f64,
}

impl FixedKl {
    /// A fixed coefficient.
    ///
    /// # Errors
    /// [`AdvantageError::OutOfRange`] if it is negative or not finite.
    pub fn new(coef: f64) -> Result<Self, AdvantageError> {
        check::not_negative("coef", coef)?;
        Ok(Self { coef })
    }
}

impl KlController for FixedKl {
    fn coef(&self) -> f64 {
        self.coef
    }

    fn update(&mut self, _measured_kl: f64, _samples: usize) {}

    fn resume(&mut self, coef: f64) {
        self.coef = coef;
    }
}

/// A coefficient that steers the KL of responses towards a target.
///
/// e = clip(KL/target − 1, −0.2, 0.2)
/// coef ← coef · (1 + e · n/horizon)
///
/// Source: Ziegler et al. 2019, §2.2. Departures: n/horizon counts as 1 at most, since
/// n > 5·horizon would turn the coefficient negative; a KL that is not a number changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveKl {
    coef: f64,
    target: f64,
    horizon: f64,
}

impl AdaptiveKl {
    /// Steers from a coefficient towards a target KL per response, in nats; the horizon is in
    /// episodes.
    ///
    /// # Errors
    /// [`AdvantageError::OutOfRange`] unless all three are finite and positive.
    pub fn new(coef: f64, target: f64, horizon: f64) -> Result<Self, AdvantageError> {
        check::positive("initial", coef)?;
        check::positive("target", target)?;
        check::positive("horizon", horizon)?;
        Ok(Self { coef, target, horizon })
    }
}

impl KlController for AdaptiveKl {
    fn coef(&self) -> f64 {
        self.coef
    }

    fn update(&mut self, measured_kl: f64, samples: usize) {
        if measured_kl.is_nan() {
            return;
        }
        let error = (measured_kl / self.target - 1.0).clamp(-0.2, 0.2);
        self.coef *= 1.0 + error * (samples as f64 / self.horizon).min(1.0);
    }

    fn resume(&mut self, coef: f64) {
        self.coef = coef;
    }
}

/// Which controller a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum KlControl {
    /// [`FixedKl`].
    Fixed {
        /// β.
        coef: f64,
    },
    /// [`AdaptiveKl`].
    Adaptive {
        /// β of the first batch.
        initial: f64,
        /// KL per response to steer towards, in nats.
        target: f64,
        /// Episodes over which a persistent error of 20 % changes β by about 20 %.
        horizon: f64,
    },
}

impl Default for KlControl {
    /// β = 0.05, fixed (Huang et al. 2024, "N+ implementation details").
    fn default() -> Self {
        KlControl::Fixed { coef: 0.05 }
    }
}

impl KlControl {
    /// The controller at its start.
    ///
    /// # Errors
    /// [`AdvantageError::OutOfRange`] for a parameter out of its range.
    pub fn controller(self) -> Result<Box<dyn KlController + Send>, AdvantageError> {
        Ok(match self {
            KlControl::Fixed { coef } => Box::new(FixedKl::new(coef)?),
            KlControl::Adaptive { initial, target, horizon } => {
                Box::new(AdaptiveKl::new(initial, target, horizon)?)
            }
        })
    }

    /// The same control from a coefficient that a checkpoint holds: the coefficient is all
    /// the state that a controller has.
    pub fn resumed_at(self, coef: f64) -> Self {
        match self {
            KlControl::Fixed { .. } => KlControl::Fixed { coef },
            KlControl::Adaptive { target, horizon, .. } => {
                KlControl::Adaptive { initial: coef, target, horizon }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adaptive() -> KlControl {
        KlControl::Adaptive { initial: 0.1, target: 6.0, horizon: 1000.0 }
    }

    #[test]
    fn the_coefficient_moves_against_the_error_and_rests_at_the_target() {
        let after = |kl| {
            let mut c = adaptive().controller().unwrap();
            c.update(kl, 100);
            c.coef()
        };
        assert!(after(7.0) > 0.1);
        assert!(after(5.0) < 0.1);
        assert_eq!(after(6.0), 0.1);
        assert_eq!(after(f64::NAN), 0.1);
        assert_eq!(after(f64::INFINITY), after(60.0));
    }

    #[test]
    fn no_batch_is_large_enough_to_turn_the_sign() {
        let mut c = adaptive().controller().unwrap();
        c.update(0.0, 1_000_000);
        assert!((c.coef() - 0.08).abs() < 1e-12);
    }

    #[test]
    fn a_fixed_coefficient_stays() {
        let mut c = KlControl::default().controller().unwrap();
        c.update(100.0, 10_000);
        assert_eq!(c.coef(), 0.05);
    }

    #[test]
    fn a_resumed_controller_continues_the_trace() {
        let mut whole = adaptive().controller().unwrap();
        whole.update(9.0, 64);
        let mut resumed = adaptive().resumed_at(whole.coef()).controller().unwrap();
        whole.update(2.0, 64);
        resumed.update(2.0, 64);
        assert_eq!(whole.coef(), resumed.coef());
    }

    #[test]
    fn configuration_is_checked() {
        let read = serde_json::from_str::<KlControl>;
        let text = r#"{"kind": "adaptive", "initial": 0.1, "target": 6, "horizon": 1000}"#;
        assert_eq!(read(text).unwrap(), adaptive());
        assert!(read(r#"{"kind": "fixed", "coef": 0.1, "target": 6}"#).is_err());
        for (initial, target, horizon, name) in
            [(0.0, 6.0, 1e3, "initial"), (0.1, -1.0, 1e3, "target"), (0.1, 6.0, 0.0, "horizon")]
        {
            let error = KlControl::Adaptive { initial, target, horizon }.controller().err();
            let found =
                matches!(error, Some(AdvantageError::OutOfRange { name: n, .. }) if n == name);
            assert!(found, "{name}");
        }
        assert!(KlControl::Fixed { coef: f64::NAN }.controller().is_err());
    }
}
