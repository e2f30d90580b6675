use crate::MemoryError;
use serde::{Deserialize, Serialize};

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

/// How much is processed at once, and in which precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Episodes of one iteration.
    pub batch: usize,
    /// Episodes that are decoded together.
    pub generate_batch: usize,
    /// Episodes of one pass in the score phase.
    pub score_batch: usize,
    /// Episodes of one optimizer step.
    pub minibatch: usize,
    /// Episodes of one pass in the update phase.
    pub micro_batch: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens of a response.
    pub response_tokens: usize,
    /// Of weights that are not trained, of activations and of the cache.
    pub dtype: Dtype,
    /// Of weights that are trained and of their gradients.
    pub trained_dtype: Dtype,
}

impl Workload {
    /// Tokens of one episode.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn tokens(&self) -> Result<u64, MemoryError> {
        crate::count::sum("a sequence", &[self.prompt_tokens as u64, self.response_tokens as u64])
    }

    /// Checks that nothing is zero and no part is larger than its whole.
    ///
    /// # Errors
    /// [`MemoryError::Zero`], [`MemoryError::PartExceedsWhole`].
    pub fn validate(&self) -> Result<(), MemoryError> {
        let batch = ("batch", self.batch);
        let generate_batch = ("generate_batch", self.generate_batch);
        let score_batch = ("score_batch", self.score_batch);
        let minibatch = ("minibatch", self.minibatch);
        let micro_batch = ("micro_batch", self.micro_batch);
        let tokens =
            [("prompt_tokens", self.prompt_tokens), ("response_tokens", self.response_tokens)];
        let counts = [batch, generate_batch, score_batch, minibatch, micro_batch];
        if let Some(&(field, _)) = counts.iter().chain(&tokens).find(|(_, n)| *n == 0) {
            return Err(MemoryError::Zero { field });
        }
        for ((part, part_value), (whole, whole_value)) in [
            (generate_batch, batch),
            (score_batch, batch),
            (minibatch, batch),
            (micro_batch, minibatch),
        ] {
            if part_value > whole_value {
                return Err(MemoryError::PartExceedsWhole { part, part_value, whole, whole_value });
            }
        }
        Ok(())
    }
}
