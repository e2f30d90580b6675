use crate::judge::{Backoff, JudgeError, Scale, Secret, seconds};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where the judge is, what it is asked and how long it is waited for.
///
/// `base_url` and `model` have no default. The API key is no field of a configuration file: a
/// file that names it is refused, and a written one does not hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeConfig {
    /// Where the API begins, for example `https://api.openai.com/v1`; `/chat/completions` is
    /// added. It shows in errors, so it must hold no user, no password and no query.
    pub base_url: String,
    /// Name of the model at the endpoint.
    pub model: String,
    /// Sent as a bearer token.
    #[serde(skip)]
    pub api_key: Option<Secret>,
    /// What makes a response good, in words for the judge.
    pub criteria: String,
    /// The scores to choose from.
    pub scale: Scale,
    /// Of sampling; none sends no temperature, as some models want it.
    pub temperature: Option<f32>,
    /// Seconds for one attempt, from the connection to the last byte.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// Where a reply is cut off as too large.
    pub max_response_bytes: u64,
    /// Characters of the prompt, and of each response, that are sent. What is left out is
    /// counted in the text.
    pub max_response_chars: usize,
    /// What happens when no attempt gave scores.
    pub on_failure: OnFailure,
}

/// What happens to responses that the judge gave no usable scores to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The error is returned.
    #[default]
    Refuse,
    /// Every response to the prompt gets this score, and [`Judge::replaced`] counts them. What
    /// would fail for every prompt (a wrong key, a wrong model, a wrong address: each 3xx, and
    /// each 4xx that is not retried) is an error all the same.
    ///
    /// [`Judge::replaced`]: crate::judge::Judge::replaced
    Score(f32),
}

impl Default for JudgeConfig {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            model: String::new(),
            api_key: None,
            criteria: "It answers the prompt correctly, helpfully and honestly, and is no longer \
                       than it needs to be."
                .to_owned(),
            scale: Scale::default(),
            temperature: Some(0.0),
            timeout: Duration::from_secs(60),
            retries: 4,
            backoff: Backoff::default(),
            max_response_bytes: 1 << 20,
            max_response_chars: 16_000,
            on_failure: OnFailure::default(),
        }
    }
}

impl JudgeConfig {
    /// The defaults for a model at an endpoint.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), model: model.into(), ..Self::default() }
    }

    /// What can be said without the network.
    pub(crate) fn check(&self) -> Result<(), JudgeError> {
        let scored = match self.on_failure {
            OnFailure::Refuse => true,
            OnFailure::Score(score) => score.is_finite(),
        };
        let warm = self.temperature.is_none_or(|t| t.is_finite() && t >= 0.0);
        require(!self.model.is_empty(), "model", "is empty")?;
        require(self.scale.is_valid(), "scale", "needs finite ends, the low one first")?;
        require(warm, "temperature", "must be finite and not negative")?;
        require(!self.timeout.is_zero(), "timeout", "must be more than 0")?;
        require(self.max_response_bytes > 0, "max_response_bytes", "must be more than 0")?;
        require(self.max_response_chars > 0, "max_response_chars", "must be more than 0")?;
        require(scored, "on_failure", "must be a finite score")
    }
}

fn require(holds: bool, field: &'static str, message: &str) -> Result<(), JudgeError> {
    if holds { Ok(()) } else { Err(JudgeError::Config { field, message: message.to_owned() }) }
}
