use crate::judge::JudgeError;
use std::fmt;

/// A text that is sent and never shown: `Debug` prints nothing of it, and it cannot be
/// serialised.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What an environment variable holds.
    ///
    /// # Errors
    /// [`JudgeError::Config`] if it is not set, or is no text.
    pub fn from_env(variable: &str) -> Result<Self, JudgeError> {
        std::env::var(variable).map(Self).map_err(|_| JudgeError::Config {
            field: "api_key",
            message: format!("the environment variable {variable} is not set to a text"),
        })
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
