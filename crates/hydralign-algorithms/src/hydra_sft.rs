use crate::AlgorithmError;
use crate::pairwise::{pairwise_loss, ranking_batch};
use crate::settings::check_not_negative;
use crate::weights::{PairWeights, TokenWeights};
use burn::tensor::Device;
use hydralign_core::{
    CoreError, Loss, Objective, Outputs, Reading, Request, Role, Sequence, TokenBatch,
};
use serde::{Deserialize, Serialize};

/// Settings of the joint loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HydraSftConfig {
    /// γ, the weight of the ranking loss. The paper's value is recalled as 0.1.
    pub ranking_weight: f64,
    /// c of the centring term of the ranking loss.
    pub centring: f64,
}

impl Default for HydraSftConfig {
    fn default() -> Self {
        Self { ranking_weight: 0.1, centring: 0.0 }
    }
}

impl HydraSftConfig {
    /// Refuses weights that are negative or not finite.
    ///
    /// # Errors
    /// [`AlgorithmError::Setting`].
    pub fn validate(&self) -> Result<(), AlgorithmError> {
        check_not_negative("ranking_weight", self.ranking_weight)?;
        check_not_negative("centring", self.centring)
    }
}

/// Hydra-SFT: one decoder with an LM head and a reward head, trained together on pairs
/// (Santacroce et al. 2023, Hydra-RLHF).
///
/// L = CE(y_w) + γ·(−log σ(r_w − r_l))
///
/// One trunk pass reads both: log-probabilities of the chosen responses and scores of all.
#[derive(Clone, Copy, Debug, Default)]
pub struct HydraSft {
    /// Settings.
    pub config: HydraSftConfig,
}

/// What the joint loss needs beside the readings: weights of the chosen tokens and of the pairs.
pub type JointWeights = (TokenWeights, PairWeights);

impl Objective for HydraSft {
    type Batch = JointWeights;

    fn reads(&self) -> Vec<Request> {
        vec![
            Request::differentiable(Reading::Logprobs(Role::Actor)),
            Request::differentiable(Reading::Score(Role::Reward)),
        ]
    }

    fn loss(&self, outputs: &Outputs, (tokens, pairs): &Self::Batch) -> Result<Loss, CoreError> {
        let logprobs = outputs.get(Reading::Logprobs(Role::Actor))?;
        let scores = outputs.get(Reading::Score(Role::Reward))?;
        let nll = logprobs.mul(tokens.weights.clone()).sum().neg();
        let ranking = pairwise_loss(scores, pairs, self.config.centring);
        let value = nll.clone().add(ranking.value.mul_scalar(self.config.ranking_weight));
        let mut stats = vec![("nll", nll)];
        stats.extend(ranking.stats);
        Ok(Loss { value, stats })
    }
}

/// The micro-batches of a minibatch of `(chosen, rejected)` pairs: rows are the chosen
/// responses, then the rejected ones. The cross-entropy is the mean over the chosen tokens of
/// the minibatch, the ranking loss the mean over its pairs.
///
/// # Errors
/// An empty prompt or response, named by row.
pub fn preference_batch(
    pairs: &[(Sequence, Sequence)],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, JointWeights)>, CoreError> {
    let total: usize = pairs.iter().map(|(chosen, _)| chosen.response_tokens()).sum();
    let ranked = ranking_batch(pairs, micro_batch, device)?;
    let parts = pairs.chunks(micro_batch.max(1));
    let join = |((batch, ranking), part): ((TokenBatch, PairWeights), &[(Sequence, Sequence)])| {
        let learnt: usize = part.iter().map(|(chosen, _)| chosen.response_tokens()).sum();
        let mut weights = vec![1.0 / total as f32; learnt];
        weights.resize(batch.response_tokens(), 0.0);
        (batch, (TokenWeights::new(weights, device), ranking))
    };
    Ok(ranked.into_iter().zip(parts).map(join).collect())
}
