use super::WeightedSequence;
use crate::weights::vector;
use crate::{AlgorithmError, TokenWeights, weighted_batch};
use burn::tensor::{Device, Tensor};
use hydralign_core::{CoreError, Loss, Objective, Outputs, Reading, Request, Role, TokenBatch};
use serde::{Deserialize, Serialize};

/// Supervised learning on the best responses, tied to the policy at the start (Mukobi et al. 2023,
/// "SuperHF").
///
/// L = −Σ_t w_t·log π(y_t) + c·Σ_t w_t·k3_t,  k3 = exp(log π_ref − log π) − 1 − (log π_ref − log π)
///
/// The paper adds a KL divergence from the prior; that it is estimated by k3 at the tokens of the
/// chosen responses is this project's choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuperHf {
    /// c.
    pub kl_coef: f64,
}

impl Default for SuperHf {
    fn default() -> Self {
        Self { kl_coef: 0.3 }
    }
}

/// What the loss needs beside the readings; packed `[tokens]`.
#[derive(Clone, Debug)]
pub struct SuperHfBatch {
    /// w_t.
    pub tokens: TokenWeights,
    /// log π_ref of each token.
    pub ref_logprobs: Tensor<1>,
}

const ACTOR: Reading = Reading::Logprobs(Role::Actor);

impl Objective for SuperHf {
    type Batch = SuperHfBatch;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(ACTOR)]
    }

    fn loss(&self, outputs: &Outputs, batch: &SuperHfBatch) -> Result<Loss, CoreError> {
        let logprobs = outputs.get(ACTOR)?;
        let weights = batch.tokens.weights.clone();
        let nll = logprobs.clone().mul(weights.clone()).sum().neg();
        let gap = batch.ref_logprobs.clone().sub(logprobs);
        let kl = gap.clone().exp().sub_scalar(1.0).sub(gap).mul(weights).sum();
        let value = nll.clone().add(kl.clone().mul_scalar(self.kl_coef));
        Ok(Loss { value, stats: vec![("nll", nll), ("kl_loss", kl)] })
    }
}

/// The micro-batches of a minibatch: rows with the reference's log-probabilities of their tokens.
///
/// # Errors
/// As [`weighted_batch`].
pub fn superhf_batch(
    rows: &[(WeightedSequence, Vec<f32>)],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, SuperHfBatch)>, AlgorithmError> {
    let counted: Vec<_> =
        rows.iter().filter(|(row, _)| row.weights.iter().any(|&w| w != 0.0)).collect();
    let sequences: Vec<WeightedSequence> = counted.iter().map(|(row, _)| row.clone()).collect();
    let parts = counted.chunks(micro_batch.max(1));
    let batches = weighted_batch(&sequences, micro_batch, device)?;
    let join = |((tokens, weights), part): ((TokenBatch, TokenWeights), &[&(_, Vec<f32>)])| {
        let reference = part.iter().flat_map(|(_, r)| r.iter().copied()).collect();
        (tokens, SuperHfBatch { tokens: weights, ref_logprobs: vector(reference, device) })
    };
    Ok(batches.into_iter().zip(parts).map(join).collect())
}
