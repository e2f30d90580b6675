use crate::MemoryError;
use hydralign_placement::Execution;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

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

    /// The lower-case name that files and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }
}

impl FromStr for Dtype {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        match text.to_ascii_lowercase().as_str() {
            "f32" | "float32" => Ok(Dtype::F32),
            "f16" | "float16" => Ok(Dtype::F16),
            "bf16" | "bfloat16" => Ok(Dtype::Bf16),
            _ => Err(MemoryError::UnknownDtype { text: text.to_owned() }),
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
    /// Of the projections and the embedding of trunks that are not trained.
    pub frozen_dtype: Dtype,
    /// Of weights that are trained and of their gradients.
    pub trained_dtype: Dtype,
    /// Of activations and logits, and of what else is not trained. Weights of another format are
    /// converted where they are used.
    pub compute_dtype: Dtype,
    /// Of keys and values in the cache.
    pub cache_dtype: Dtype,
    /// How passes are carried out.
    #[serde(default)]
    pub execution: Execution,
    /// Whether checkpoints are written while the run goes on: a copy of what is trained is then held beside it.
    #[serde(default)]
    pub checkpoints: bool,
}

impl Workload {
    /// Everything at once, in 32-bit floats: `rows` of prompts and responses of these lengths.
    pub fn uniform(rows: usize, prompt_tokens: usize, response_tokens: usize) -> Self {
        Self {
            batch: rows,
            generate_batch: rows,
            score_batch: rows,
            minibatch: rows,
            micro_batch: rows,
            prompt_tokens,
            response_tokens,
            frozen_dtype: Dtype::F32,
            trained_dtype: Dtype::F32,
            compute_dtype: Dtype::F32,
            cache_dtype: Dtype::F32,
            execution: Execution::default(),
            checkpoints: false,
        }
    }

    /// The same in another number format throughout.
    #[must_use]
    pub fn in_dtype(self, dtype: Dtype) -> Self {
        Self {
            frozen_dtype: dtype,
            trained_dtype: dtype,
            compute_dtype: dtype,
            cache_dtype: dtype,
            ..self
        }
    }

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
    /// [`MemoryError::Zero`], [`MemoryError::PartExceedsWhole`], [`MemoryError::Placement`] for an
    /// execution in pieces of nothing.
    pub fn validate(&self) -> Result<(), MemoryError> {
        self.execution.validate()?;
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
