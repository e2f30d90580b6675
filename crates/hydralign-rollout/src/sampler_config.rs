use crate::{FilteredSampler, RolloutError};
use serde::{Deserialize, Serialize};

/// How tokens are drawn. The default samples from the policy itself, as PPO assumes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerConfig {
    /// T: logits are divided by it.
    pub temperature: f32,
    /// Keep the k most likely tokens, and those that tie with the k-th.
    pub top_k: Option<usize>,
    /// Keep the smallest set of most likely tokens that holds this share.
    pub top_p: Option<f32>,
    /// Keep tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f32>,
    /// Take the most likely token instead of drawing; the lowest id at ties.
    pub greedy: bool,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, min_p: None, greedy: false }
    }
}

impl SamplerConfig {
    /// The greedy choice.
    pub fn greedy() -> Self {
        Self { greedy: true, ..Self::default() }
    }

    /// Checks the settings: T > 0, k ≥ 1, 0 < top-p ≤ 1, 0 ≤ min-p ≤ 1.
    ///
    /// # Errors
    /// [`RolloutError::SamplerSetting`] names the first that is out of range.
    pub fn validate(&self) -> Result<(), RolloutError> {
        let check = |ok: bool, field, value: f64, range| {
            if ok { Ok(()) } else { Err(RolloutError::SamplerSetting { field, value, range }) }
        };
        let t = self.temperature;
        check(t.is_finite() && t > 0.0, "temperature", t.into(), "positive and finite")?;
        let k = self.top_k.unwrap_or(1);
        check(k > 0, "top_k", k as f64, "at least 1")?;
        let p = self.top_p.unwrap_or(1.0);
        check(p > 0.0 && p <= 1.0, "top_p", p.into(), "above 0 and at most 1")?;
        let p = self.min_p.unwrap_or(0.0);
        check((0.0..=1.0).contains(&p), "min_p", p.into(), "between 0 and 1")
    }

    /// A sampler with these settings.
    ///
    /// # Errors
    /// As [`SamplerConfig::validate`].
    pub fn build(self) -> Result<FilteredSampler, RolloutError> {
        self.validate()?;
        Ok(FilteredSampler::new(self))
    }
}
