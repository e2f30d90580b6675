use crate::count::{product, sum};
use crate::{Dtype, MemoryError};
use hydralign_placement::ModelShape;
use serde::{Deserialize, Serialize};

const WHAT: &str = "the head";

/// What is alive at once between the last states and the loss, for comparing implementations of a
/// loss over the vocabulary: each copy by its number format.
///
/// The 16-bit logits of a cross-entropy that is computed in 32 bits are two copies, `[Bf16, F32]`. A
/// loss that is taken in chunks (Liger, Cut Cross-Entropy) has none of all tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadCopies {
    /// Of the head's weight: itself, its gradient, conversions.
    pub weights: Vec<Dtype>,
    /// Of the logits: themselves, conversions, log-probabilities, gradients.
    pub logits: Vec<Dtype>,
    /// Of the states that the head reads: themselves, their gradient.
    pub states: Vec<Dtype>,
    /// Bytes of a label.
    pub label: u64,
}

impl HeadCopies {
    /// Bytes that each predicted token adds: V·Σ logits + h·Σ states + label.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn bytes_per_token(&self, shape: &ModelShape) -> Result<u64, MemoryError> {
        let logits = product(WHAT, &[shape.vocab as u64, width(&self.logits)])?;
        let states = product(WHAT, &[shape.width() as u64, width(&self.states)])?;
        sum(WHAT, &[logits, states, self.label])
    }

    /// Bytes for n `tokens`: V·h·Σ weights + n·[`HeadCopies::bytes_per_token`].
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn bytes(&self, shape: &ModelShape, tokens: u64) -> Result<u64, MemoryError> {
        let numbers = product(WHAT, &[shape.vocab as u64, shape.width() as u64])?;
        let weights = product(WHAT, &[numbers, width(&self.weights)])?;
        sum(WHAT, &[weights, product(WHAT, &[tokens, self.bytes_per_token(shape)?])?])
    }
}

/// Bytes of one number in all copies.
fn width(copies: &[Dtype]) -> u64 {
    copies.iter().map(|dtype| dtype.bytes()).sum()
}
