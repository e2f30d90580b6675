use crate::filter::{min_p, top_k, top_p};
use crate::softmax::{exp_total, maximum, peak, pick, total, weights};
use crate::{SampleError, SamplerConfig};

/// One drawn token and its probability under two distributions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token.
    pub token: u32,
    /// log p of the token under the distribution it was drawn from; 0 for a greedy choice.
    pub logprob: f32,
    /// log π of the token at temperature 1 over the whole vocabulary.
    pub policy_logprob: f32,
}

/// Draws one token from one row of logits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot draw tokens",
    note = "`SamplerConfig::build` makes a sampler"
)]
pub trait Sampler {
    /// Draws the token that belongs to a uniform number in [0, 1).
    ///
    /// Suppressed tokens have probability zero in the distribution drawn from; the log π of the
    /// policy does not know of them.
    ///
    /// # Shapes
    /// `logits`: `[vocab]`.
    ///
    /// # Errors
    /// [`SampleError`], when the logits leave nothing to draw.
    fn sample(&self, logits: &[f32], suppressed: &[u32], uniform: f64)
    -> Result<Draw, SampleError>;
}

impl<T: Sampler + ?Sized> Sampler for &T {
    fn sample(
        &self,
        logits: &[f32],
        suppressed: &[u32],
        uniform: f64,
    ) -> Result<Draw, SampleError> {
        (**self).sample(logits, suppressed, uniform)
    }
}

/// Draws from softmax(logits / T) after top-k, top-p and min-p, in this order, or takes the
/// most likely token.
///
/// The token is the first, by id, whose cumulative probability exceeds the uniform number; sums
/// run in `f64`.
///
/// Order, ties and inequalities are those of transformers (`generation/utils.py`,
/// `_get_logits_processor`; `generation/logits_process.py`). Suppression comes first, as its
/// `MinNewTokensLengthLogitsProcessor` does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilteredSampler {
    config: SamplerConfig,
}

impl FilteredSampler {
    pub(crate) fn new(config: SamplerConfig) -> Self {
        Self { config }
    }

    /// The settings it was built from.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// True if the distribution drawn from is the policy's own.
    fn is_plain(&self) -> bool {
        let SamplerConfig { temperature, top_k, top_p, min_p, greedy } = self.config;
        let off = top_k.is_none() && top_p.is_none_or(|p| p == 1.0) && min_p.is_none();
        temperature == 1.0 && off && !greedy
    }

    /// Weights of the truncated distribution, and the logit whose weight is 1.
    fn truncated(&self, scores: &mut [f32]) -> (Vec<f32>, f32) {
        if let Some(k) = self.config.top_k {
            top_k(scores, k);
        }
        let top = maximum(scores);
        let mut weights = weights(scores, top, self.config.temperature);
        if let Some(p) = self.config.top_p.filter(|p| *p < 1.0) {
            top_p(&mut weights, p);
        }
        if let Some(p) = self.config.min_p {
            min_p(&mut weights, p);
        }
        (weights, top)
    }
}

impl Sampler for FilteredSampler {
    fn sample(
        &self,
        logits: &[f32],
        suppressed: &[u32],
        uniform: f64,
    ) -> Result<Draw, SampleError> {
        if !(0.0..1.0).contains(&uniform) {
            return Err(SampleError::Uniform { uniform });
        }
        let policy_top = peak(logits)?;
        let logprob = |token: usize, top: f32, temperature: f32, total: f64| {
            (f64::from((logits[token] - top) / temperature) - total.ln()) as f32
        };
        if self.is_plain() && suppressed.is_empty() {
            let weights = weights(logits, policy_top, 1.0);
            let total = total(&weights);
            let token = pick(&weights, uniform * total);
            let logprob = logprob(token, policy_top, 1.0, total);
            return Ok(Draw { token: token as u32, logprob, policy_logprob: logprob });
        }
        let policy_total = exp_total(logits, policy_top);
        let mut scores = suppress(logits, suppressed)?;
        let (token, drawn) = if self.config.greedy {
            (argmax(&scores), 0.0)
        } else {
            let (weights, top) = self.truncated(&mut scores);
            let total = total(&weights);
            let token = pick(&weights, uniform * total);
            (token, logprob(token, top, self.config.temperature, total))
        };
        let policy_logprob = logprob(token, policy_top, 1.0, policy_total);
        Ok(Draw { token: token as u32, logprob: drawn, policy_logprob })
    }
}

/// A copy of the logits with −∞ at the suppressed tokens, at least one above −∞.
fn suppress(logits: &[f32], suppressed: &[u32]) -> Result<Vec<f32>, SampleError> {
    let mut scores = logits.to_vec();
    for &token in suppressed {
        let vocab = logits.len();
        let score = scores.get_mut(token as usize);
        *score.ok_or(SampleError::Suppressed { token, vocab })? = f32::NEG_INFINITY;
    }
    if maximum(&scores) == f32::NEG_INFINITY {
        return Err(SampleError::NothingLeft { suppressed: suppressed.len() });
    }
    Ok(scores)
}

/// The lowest id of the largest score.
fn argmax(scores: &[f32]) -> usize {
    let top = maximum(scores);
    scores.iter().position(|&s| s == top).unwrap_or(0)
}
