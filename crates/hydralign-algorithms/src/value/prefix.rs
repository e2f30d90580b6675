use crate::AlgorithmError;
use crate::reweight::check_targets;
use crate::weights::vector;
use burn::tensor::{Device, Tensor};
use hydralign_core::{
    ActionHead, CoreError, Loss, Objective, Outputs, Reading, Request, Role, Sequence, TokenBatch,
};

/// Regression of the value of every prefix of a response.
///
/// L = ½·Σ_t w_t·( U(x, y_≤t) − q_t )²
///
/// U is a scalar head's reading of the prefix that ends with token t, or an action head's value of
/// token t in the state before it ([`PrefixRegression::of_actions`]), which is what tilting the next
/// token needs.
///
/// With q_t the score of the whole response it is the CD-FUDGE prefix scorer of controlled decoding
/// (Mudgal et al. 2023, eq. 4) and the Monte-Carlo value of IRO; with λ-returns it is the Q of SPR's
/// Algorithm 1. In a language model the state after token t *is* the action's outcome, so U(x, y_≤t)
/// is Q(s_t, y_t).
#[derive(Clone, Copy, Debug)]
pub struct PrefixRegression {
    reading: Reading,
}

impl PrefixRegression {
    /// Fits the critic's scalar head.
    pub fn of_prefixes() -> Self {
        Self { reading: Reading::PrefixValues(Role::Critic) }
    }

    /// Fits an action head of the critic.
    pub fn of_actions(head: ActionHead) -> Self {
        Self { reading: Reading::ActionValue(head) }
    }
}

/// What the loss needs beside the readings; packed `[tokens]`.
#[derive(Clone, Debug)]
pub struct PrefixBatch {
    /// q_t.
    pub targets: Tensor<1>,
    /// One over the tokens of the whole minibatch.
    pub weights: Tensor<1>,
}

impl Objective for PrefixRegression {
    type Batch = PrefixBatch;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(self.reading)]
    }

    fn loss(&self, outputs: &Outputs, batch: &PrefixBatch) -> Result<Loss, CoreError> {
        let error = outputs.get(self.reading)?.sub(batch.targets.clone());
        let value = error.square().mul(batch.weights.clone()).sum().mul_scalar(0.5);
        Ok(Loss { stats: vec![("value_loss", value.clone())], value })
    }
}

/// The micro-batches of a minibatch of responses with a target per token.
///
/// # Errors
/// Targets that are not finite or not one per response token; an empty prompt or response.
pub fn prefix_batch(
    rows: &[(Sequence, Vec<f32>)],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, PrefixBatch)>, AlgorithmError> {
    for (sequence, targets) in rows {
        check_targets(sequence, targets)?;
    }
    let total: usize = rows.iter().map(|(_, q)| q.len()).sum();
    let one = |part: &[(Sequence, Vec<f32>)]| {
        let tokens = TokenBatch::new(part.iter().map(|(s, _)| s.clone()).collect())?;
        let targets: Vec<f32> = part.iter().flat_map(|(_, q)| q.iter().copied()).collect();
        let weights = vector(vec![1.0 / total as f32; targets.len()], device);
        Ok((tokens, PrefixBatch { targets: vector(targets, device), weights }))
    };
    rows.chunks(micro_batch.max(1)).map(one).collect()
}
