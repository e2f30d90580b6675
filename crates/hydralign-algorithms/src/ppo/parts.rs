use hydralign_advantage::{AdvantageEstimator, KlController};
use std::fmt;
use std::sync::Arc;

/// Parts of PPO that are handed in instead of being configured.
///
/// ```
/// use hydralign_algorithms::{Ppo, PpoConfig, PpoParts};
/// use hydralign_advantage::{AdvantageError, AdvantageEstimator, Credit, FixedKl};
///
/// /// A_t = what is still to come, without a critic.
/// struct ReturnToGo;
///
/// impl AdvantageEstimator for ReturnToGo {
///     fn credit(&self, rewards: &[f32], _: &[f32]) -> Result<Credit, AdvantageError> {
///         let sums = rewards.iter().rev().scan(0.0, |sum, r| { *sum += r; Some(*sum) });
///         let mut returns: Vec<f32> = sums.collect();
///         returns.reverse();
///         Ok(Credit { advantages: returns.clone(), returns })
///     }
/// }
///
/// let kl = FixedKl::new(0.02)?;
/// let parts = PpoParts::default().kl(move || kl).advantages(ReturnToGo);
/// let ppo = Ppo::with_parts(PpoConfig::default(), &parts)?;
/// assert_eq!(ppo.kl_coef(), 0.02);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct PpoParts {
    pub(super) kl: Option<Arc<MakeKl>>,
    pub(super) advantages: Option<Arc<dyn AdvantageEstimator + Send + Sync>>,
}

type MakeKl = dyn Fn() -> Box<dyn KlController + Send> + Send + Sync;

impl PpoParts {
    /// Chooses β by a controller of your own: `make` gives it at its start. A recipe asks for it anew in each
    /// iteration and resumes it from the coefficient, which must be all of its state.
    #[must_use]
    pub fn kl<C: KlController + Send + 'static>(
        self,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        Self { kl: Some(Arc::new(move || Box::new(make()))), ..self }
    }

    /// Estimates advantages and value targets by a rule of your own; γ and λ of the settings are not used then.
    #[must_use]
    pub fn advantages(self, estimator: impl AdvantageEstimator + Send + Sync + 'static) -> Self {
        Self { advantages: Some(Arc::new(estimator)), ..self }
    }
}

impl fmt::Debug for PpoParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PpoParts { kl, advantages } = self;
        let own = |own: bool| if own { "own" } else { "configured" };
        let mut shown = f.debug_struct("PpoParts");
        shown.field("kl", &own(kl.is_some())).field("advantages", &own(advantages.is_some()));
        shown.finish()
    }
}
