use crate::{CoreError, Episode};

/// Scores whole responses: rules, verifiers and learned models alike. Closures implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot score episodes",
    note = "any `Fn(&[Episode]) -> Vec<f32>` is a `Reward`"
)]
pub trait Reward {
    /// One score per episode, in order.
    ///
    /// # Errors
    /// What kept the scores from being computed.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError>;
}

impl<F: Fn(&[Episode]) -> Vec<f32>> Reward for F {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        Ok(self(episodes))
    }
}
