use crate::weights::PairWeights;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor};
use hydralign_core::{
    CoreError, Loss, Objective, Outputs, Reading, Request, Role, Sequence, TokenBatch,
};
use serde::{Deserialize, Serialize};

/// Settings of the pairwise reward loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairwiseConfig {
    /// c of the centring term; 0 switches it off.
    pub centring: f64,
}

/// Bradley–Terry loss of a reward model (Ouyang et al. 2022, eq. 1).
///
/// L = Σ_i w_i · [ −log σ(r_w − r_l − m) + c·(r_w + r_l)² ]
///
/// The second term keeps rewards centred at 0 (Eisenstein et al. 2023, as in TRL's
/// `RewardTrainer`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Pairwise {
    /// Settings.
    pub config: PairwiseConfig,
}

impl Objective for Pairwise {
    type Batch = PairWeights;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(Reading::Score(Role::Reward))]
    }

    fn loss(&self, outputs: &Outputs, batch: &PairWeights) -> Result<Loss, CoreError> {
        let scores = outputs.get(Reading::Score(Role::Reward))?;
        Ok(pairwise_loss(scores, batch, self.config.centring))
    }
}

/// The loss of scores `[2·pairs]`, chosen responses first, and its statistics: the share of
/// pairs that are ranked rightly (ties count half) and the mean margin.
pub fn pairwise_loss(scores: Tensor<1>, batch: &PairWeights, centring: f64) -> Loss {
    let pairs = batch.pairs();
    let chosen = scores.clone().narrow(0, 0, pairs);
    let rejected = scores.narrow(0, pairs, pairs);
    let lead = chosen.clone().sub(rejected.clone());
    let logit = match &batch.margins {
        Some(margins) => lead.clone().sub(margins.clone()),
        None => lead.clone(),
    };
    let weights = batch.weights.clone();
    let mut terms = log_sigmoid(logit).neg();
    if centring != 0.0 {
        terms = terms.add(chosen.add(rejected).square().mul_scalar(centring));
    }
    let lead = lead.without_autodiff();
    let right = lead.clone().sign().add_scalar(1.0).mul_scalar(0.5);
    let value = terms.mul(weights.clone()).sum();
    let stats = vec![
        ("ranking_loss", value.clone()),
        ("ranking_accuracy", right.mul(weights.clone()).sum()),
        ("ranking_margin", lead.mul(weights).sum()),
    ];
    Loss { value, stats }
}

/// The micro-batches of a minibatch of `(chosen, rejected)` pairs: rows are the chosen responses, then
/// the rejected ones. The loss is the mean over the pairs of the minibatch.
///
/// # Errors
/// An empty prompt or response, named by row.
pub fn ranking_batch(
    pairs: &[(Sequence, Sequence)],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, PairWeights)>, CoreError> {
    let one = |part: &[(Sequence, Sequence)]| {
        let chosen = part.iter().map(|(chosen, _)| chosen.clone());
        let rejected = part.iter().map(|(_, rejected)| rejected.clone());
        let batch = TokenBatch::new(chosen.chain(rejected).collect())?;
        Ok((batch, PairWeights::mean(part.len(), pairs.len(), device)))
    };
    pairs.chunks(micro_batch.max(1)).map(one).collect()
}
