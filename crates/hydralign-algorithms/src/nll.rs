use crate::weights::TokenWeights;
use burn::tensor::Device;
use hydralign_core::{
    CoreError, Loss, Objective, Outputs, Reading, Request, Role, Sequence, TokenBatch,
};

/// Negative log-likelihood of the completions: supervised fine-tuning.
///
/// L = −Σ_t w_t · log π(y_t | x, y_<t), over completion tokens only; prompts are never learnt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nll;

impl Objective for Nll {
    type Batch = TokenWeights;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(Reading::Logprobs(Role::Actor))]
    }

    fn loss(&self, outputs: &Outputs, batch: &TokenWeights) -> Result<Loss, CoreError> {
        let logprobs = outputs.get(Reading::Logprobs(Role::Actor))?;
        let value = logprobs.mul(batch.weights.clone()).sum().neg();
        Ok(Loss { stats: vec![("nll", value.clone())], value })
    }
}

/// The micro-batches of a minibatch whose loss is the mean over all its completion tokens.
///
/// # Errors
/// An empty prompt or completion, named by row.
pub fn nll_batch(
    sequences: &[Sequence],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, TokenWeights)>, CoreError> {
    let total = sequences.iter().map(|s| s.response_tokens()).sum();
    sequences
        .chunks(micro_batch.max(1))
        .map(|rows| {
            let batch = TokenBatch::new(rows.to_vec())?;
            let weights = TokenWeights::mean(batch.response_tokens(), total, device);
            Ok((batch, weights))
        })
        .collect()
}
