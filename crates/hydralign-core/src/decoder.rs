use crate::{CoreError, Role};
use burn::tensor::Tensor;

/// Predicts the next token of many sequences, one position at a time, with a cache.
pub trait Decoder {
    /// Keys and values of what was read so far. Row order is the caller's.
    type Cache;

    /// Reads the prompts and returns the logits of the next token, `[rows, vocab]`.
    ///
    /// `room` is the number of tokens that may still be decoded for each row. A row that has used its
    /// own may be decoded along with others only while it fits the model's context: drop it with
    /// [`retain`](Self::retain) before.
    ///
    /// # Errors
    /// [`CoreError::ContextExceeded`], [`CoreError::EmptyPrompt`], [`CoreError::TokenOutOfRange`].
    fn prefill(
        &self,
        role: Role,
        prompts: &[&[u32]],
        room: &[usize],
    ) -> Result<(Self::Cache, Tensor<2>), CoreError>;

    /// Reads one more token of each row and returns the logits of the next, `[rows, vocab]`.
    ///
    /// # Errors
    /// [`CoreError::ContextExceeded`] past the capacity.
    fn decode(
        &self,
        role: Role,
        cache: &mut Self::Cache,
        tokens: &[u32],
    ) -> Result<Tensor<2>, CoreError>;

    /// Keeps only these rows, in this order; the others have finished.
    fn retain(&self, cache: &mut Self::Cache, rows: &[usize]);
}
