use crate::AlgorithmError;
use crate::weights::TokenWeights;
use burn::tensor::Device;
use hydralign_core::{Sequence, TokenBatch};

/// A response that is learnt with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedSequence {
    /// Prompt and response.
    pub sequence: Sequence,
    /// w_t of each response token that the mask keeps.
    pub weights: Vec<f32>,
}

impl WeightedSequence {
    /// The same weight for all tokens of a response.
    pub fn uniform(sequence: Sequence, weight: f32) -> Self {
        let weights = vec![weight; sequence.response_tokens()];
        Self { sequence, weights }
    }

    fn counts(&self) -> bool {
        self.weights.iter().any(|&w| w != 0.0)
    }
}

/// The micro-batches of a minibatch of weighted supervised learning, for [`Nll`](crate::Nll).
///
/// L = −(1/Σ|y_i|)·Σ_i Σ_t w_{i,t}·log π(y_{i,t})
///
/// Rows whose weights are all 0 are neither read nor counted, so that a choice of responses is plain
/// supervised learning on the chosen ones; so is any set of rows of weight 1.
///
/// # Errors
/// [`AlgorithmError::Empty`] if no row has a weight; an empty prompt or response, named by row.
pub fn weighted_batch(
    rows: &[WeightedSequence],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, TokenWeights)>, AlgorithmError> {
    let rows: Vec<&WeightedSequence> = rows.iter().filter(|row| row.counts()).collect();
    if rows.is_empty() {
        return Err(AlgorithmError::Empty { what: "responses of positive weight" });
    }
    let total: usize = rows.iter().map(|row| row.weights.len()).sum();
    let one = |part: &[&WeightedSequence]| {
        let tokens = TokenBatch::new(part.iter().map(|row| row.sequence.clone()).collect())?;
        let weights = part.iter().flat_map(|row| &row.weights).map(|w| w / total as f32);
        Ok((tokens, TokenWeights::new(weights.collect(), device)))
    };
    rows.chunks(micro_batch.max(1)).map(one).collect()
}
