use super::Side;
use crate::rows::Rows;
use crate::weights::vector;
use burn::tensor::{Device, Tensor};
use hydralign_core::{CoreError, Sequence, TokenBatch};

/// Two responses to one prompt, and what the reference thinks of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The preferred response.
    pub chosen: Sequence,
    /// The other one.
    pub rejected: Sequence,
    /// log π_ref of the chosen and of the rejected response, summed over their tokens.
    pub reference: Option<[f32; 2]>,
}

impl From<(Sequence, Sequence)> for Pair {
    /// The preferred response and the other one, their reference not read yet.
    fn from((chosen, rejected): (Sequence, Sequence)) -> Self {
        Self { chosen, rejected, reference: None }
    }
}

/// What a preference loss needs beside the readings. Rows are the chosen responses of all pairs,
/// then the rejected ones.
#[derive(Clone, Debug)]
pub struct PairBatch {
    pub(super) rows: Rows,
    /// log π_ref of each row, `[2·pairs]`.
    pub reference: Option<Tensor<1>>,
    /// One over the pairs of the whole minibatch, `[pairs]`.
    pub weights: Tensor<1>,
    /// One over the chosen tokens of the whole minibatch on chosen tokens, 0 on others; packed
    /// `[tokens]`.
    pub chosen_tokens: Tensor<1>,
}

impl PairBatch {
    /// Chosen and rejected side of each pair.
    pub(super) fn sides(&self, logprobs: Tensor<1>, reference: Option<Tensor<1>>) -> (Side, Side) {
        let pairs = self.rows.count() / 2;
        let sums = self.rows.exact_sum(logprobs);
        let reference = reference.unwrap_or_else(|| self.rows.lengths().zeros_like());
        let side = |from: usize| Side {
            logprob: sums.clone().narrow(0, from, pairs),
            reference: reference.clone().narrow(0, from, pairs),
            length: self.rows.lengths().narrow(0, from, pairs),
        };
        (side(0), side(pairs))
    }
}

/// The micro-batches of a minibatch of pairs.
///
/// # Errors
/// An empty prompt or response, named by row.
pub fn pair_batch(
    pairs: &[Pair],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, PairBatch)>, CoreError> {
    let chosen_tokens: usize = pairs.iter().map(|p| p.chosen.response_tokens()).sum();
    let one = |part: &[Pair]| {
        let chosen = part.iter().map(|p| p.chosen.clone());
        let rejected = part.iter().map(|p| p.rejected.clone());
        let tokens = TokenBatch::new(chosen.chain(rejected).collect())?;
        let reference: Option<Vec<[f32; 2]>> = part.iter().map(|p| p.reference).collect();
        let reference = reference.map(|all| {
            let side = |k: usize| all.iter().map(move |both| both[k]);
            vector(side(0).chain(side(1)).collect(), device)
        });
        let learnt: usize = part.iter().map(|p| p.chosen.response_tokens()).sum();
        let mut chosen = vec![1.0 / chosen_tokens as f32; learnt];
        chosen.resize(tokens.response_tokens(), 0.0);
        let batch = PairBatch {
            rows: Rows::new(&tokens.response_lengths(), device),
            reference,
            weights: vector(vec![1.0 / pairs.len() as f32; part.len()], device),
            chosen_tokens: vector(chosen, device),
        };
        Ok((tokens, batch))
    };
    pairs.chunks(micro_batch.max(1)).map(one).collect()
}
