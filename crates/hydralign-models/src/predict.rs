//! What the LM head and the action heads say of the response tokens.

use crate::trunk::Trunk;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{CoreError, Gradient, TokenBatch};
use hydralign_kernels::{KernelError, LogProb};
use std::num::NonZeroUsize;

/// What the LM head says of the response tokens, `[tokens]` each.
pub(crate) struct Predictions {
    pub(crate) logprobs: Tensor<1>,
    /// If they are read.
    pub(crate) entropies: Option<Tensor<1>>,
}

pub(crate) fn index(positions: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The linear softmax of a trunk's head at the batch's temperature.
pub(crate) fn log_prob(
    trunk: &Trunk,
    batch: &TokenBatch,
    chunk: NonZeroUsize,
) -> Result<LogProb, CoreError> {
    Ok(LogProb {
        vocabulary: trunk.vocabulary(Gradient::Off)?,
        temperature: batch.temperature(),
        softcap: trunk.architecture.logit_softcap,
        chunk,
    })
}

/// A kernel that refuses what the bank gives it.
pub(crate) fn misfit(error: KernelError) -> CoreError {
    CoreError::Other(Box::new(error))
}

/// Response tokens in packed order.
pub(crate) fn targets(batch: &TokenBatch, device: &Device) -> Tensor<1, Int> {
    let targets: Vec<usize> = batch.targets().iter().map(|&t| t as usize).collect();
    index(&targets, device)
}

/// log softmax(logits / T) of the response tokens and its entropies, by way of the whole
/// `[tokens, vocab]`.
pub(crate) fn predict_at_once(
    trunk: &Trunk,
    packed: Tensor<2>,
    batch: &TokenBatch,
    gradient: Gradient,
    entropies: bool,
) -> Result<Predictions, CoreError> {
    let logits = trunk.logits(packed, gradient)?;
    let logits = match batch.temperature() {
        1.0 => logits,
        t => logits.div_scalar(t),
    };
    let log_p = log_softmax(logits, 1);
    let logprobs = chosen(log_p.clone(), batch, &trunk.device());
    Ok(Predictions { logprobs, entropies: entropies.then(|| entropy(log_p)) })
}

/// The column of each response token, `[tokens, vocab]` → `[tokens]`.
pub(crate) fn chosen(all: Tensor<2>, batch: &TokenBatch, device: &Device) -> Tensor<1> {
    let n = all.dims()[0];
    all.gather(1, targets(batch, device).reshape([n, 1])).reshape([n])
}

/// log Σ exp over the vocabulary, shifted by the largest value.
pub(crate) fn log_sum_exp(all: Tensor<2>) -> Tensor<1> {
    let n = all.dims()[0];
    let top = all.clone().without_autodiff().max_dim(1);
    all.sub(top.clone()).exp().sum_dim(1).log().add(top).reshape([n])
}

/// −Σ p log p over the vocabulary, in nats.
pub(crate) fn entropy(log_p: Tensor<2>) -> Tensor<1> {
    let n = log_p.dims()[0];
    log_p.clone().exp().mul(log_p).sum_dim(1).neg().reshape([n])
}
