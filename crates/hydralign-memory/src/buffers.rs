//! What an iteration holds beside the models: the cache, the batch and the logits.

use crate::count::{product, sum};
use crate::{Estimate, MemoryError, Moment, PhaseName};
use hydralign_placement::Role;

/// Numbers of four bytes that an episode keeps per response token, from sampling to update.
const PER_RESPONSE_TOKEN: [&str; 10] = [
    "token",
    "logprobs",
    "policy_logprobs",
    "old_logprobs",
    "ref_logprobs",
    "values",
    "rewards",
    "kl",
    "advantages",
    "returns",
];

/// Copies of `[rows, V]` alive at once when a token is sampled: logits and log-probabilities.
const SAMPLING_COPIES: u64 = 2;
/// Copies of `[tokens, V]` alive at once when log-probabilities are read without a graph:
/// the shifted logits and their exponentials.
const READING_COPIES: u64 = 2;
/// Copies of `[tokens, V]` alive at once when they are differentiated: the shifted logits that
/// the graph keeps, the gradient of the log-probabilities and the part of it that has passed
/// through the exponentials.
const TRAINING_COPIES: u64 = 3;

impl Estimate<'_> {
    /// Keys and values of the rows that are decoded together, at full length from the start:
    /// 2·L·kv_heads·head_dim·generate_batch·(prompt + response)·b.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn kv_cache(&self) -> Result<u64, MemoryError> {
        let shape = self.shape;
        let factors = [
            2,
            shape.layers as u64,
            shape.kv_heads as u64,
            shape.head_dim as u64,
            self.workload.generate_batch as u64,
            self.workload.tokens()?,
            self.workload.dtype.bytes(),
        ];
        product("the cache", &factors)
    }

    /// The batch on the host: 4·batch·(prompt + 10·response).
    ///
    /// Per response token: the token; its log-probabilities as sampled, of the policy, as the
    /// ratio uses them and of the reference; value, shaped reward, KL estimate, advantage and
    /// return.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn experience(&self) -> Result<u64, MemoryError> {
        let what = "the experience";
        let workload = self.workload;
        let numbers = PER_RESPONSE_TOKEN.len() as u64;
        let response = product(what, &[numbers, workload.response_tokens as u64])?;
        let episode = sum(what, &[workload.prompt_tokens as u64, response])?;
        product(what, &[4, workload.batch as u64, episode])
    }

    /// Tensors over the vocabulary while the LM head is read, zero at other moments.
    ///
    /// * generate: 2·generate_batch·V·b, one position of every row;
    /// * score: 2·score_batch·response·V·b, if there is a reference to read;
    /// * update: 3·micro_batch·response·V·b, if there is an actor to train.
    ///
    /// Only positions that predict a response token go through the LM head.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn logits(&self, phase: PhaseName, moment: Moment) -> Result<u64, MemoryError> {
        let w = self.workload;
        let (role, copies, rows, positions) = match phase {
            PhaseName::Generate => (Role::Actor, SAMPLING_COPIES, w.generate_batch, 1),
            PhaseName::Score => (Role::Reference, READING_COPIES, w.score_batch, w.response_tokens),
            PhaseName::Update => (Role::Actor, TRAINING_COPIES, w.micro_batch, w.response_tokens),
        };
        if moment != Moment::Head || !self.placement.views.contains_key(&role) {
            return Ok(0);
        }
        let (rows, vocab) = (rows as u64, self.shape.vocab as u64);
        product("the logits", &[copies, rows, positions as u64, vocab, w.dtype.bytes()])
    }
}
