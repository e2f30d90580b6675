use crate::AlgorithmError;
use crate::reweight::check_targets;
use crate::weights::vector;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{
    ActionHead, CoreError, Loss, Objective, Outputs, Reading, Request, Role, Sequence, TokenBatch,
};
use serde::{Deserialize, Serialize};

/// Implicit language Q-learning: offline Q-learning on responses of a data set with rewards (Snell et
/// al. 2022; the loss of trlX).
///
/// L = Σ_t w_t·[ Σ_i (Q_i(s_t, y_t) − r_t − γ·V(s_{t+1}))² + E_τ(Q̄ − V(s_t)) + c·Σ_i CE(Q_i, y_t) + d·e^{β(Q̄ − V)}·(−log π(y_t)) ]
///
/// Q̄ = min_i of the target heads' values of y_t; V(s_{t+1}) is 0 after the last token; E_τ(u) = τ·u², or
/// (1 − τ)·u² where u is negative, is the expectile loss; CE(Q, y) = log Σ_a e^{Q(a)} − Q(y) keeps the values of unseen tokens down
/// (conservative Q-learning). Gradients reach V by the expectile alone, and Q̄ and the exponential not
/// at all.
///
/// The target heads follow by `ModelBank::follow_action_heads`; decoding tilts the policy by
/// [`Guided`](hydralign_rollout::Guided).
///
/// Statistics: `loss_q`, `loss_v`, `loss_cql`, `loss_awac`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ilql {
    /// τ, the expectile: above ½ V leans towards the better actions.
    pub tau: f64,
    /// γ.
    pub gamma: f64,
    /// c.
    pub cql_scale: f64,
    /// d.
    pub awac_scale: f64,
    /// β of the likelihood's weight; 0 is plain likelihood.
    pub beta: f64,
    /// Two action heads, of which the lesser counts, or the first alone.
    pub two_heads: bool,
}

impl Default for Ilql {
    /// trlX: τ = 0.7, γ = 0.99, c = 0.1, d = 1, β = 0, two heads.
    fn default() -> Self {
        let (tau, gamma, cql_scale, awac_scale) = (0.7, 0.99, 0.1, 1.0);
        Self { tau, gamma, cql_scale, awac_scale, beta: 0.0, two_heads: true }
    }
}

/// A response with a reward for each token.
#[derive(Clone, Debug, PartialEq)]
pub struct IlqlRow {
    /// Prompt and response.
    pub sequence: Sequence,
    /// r_t; usually 0 but for the last.
    pub rewards: Vec<f32>,
}

/// What the loss needs beside the readings; packed `[tokens]`.
#[derive(Clone, Debug)]
pub struct IlqlBatch {
    /// r_t.
    rewards: Tensor<1>,
    /// Index of the token after; the last of a row points at itself.
    next: Tensor<1, Int>,
    /// 0 for the last token of a row, 1 for the others.
    goes_on: Tensor<1>,
    /// One over the tokens of the whole minibatch.
    weights: Tensor<1>,
}

const ACTOR: Reading = Reading::Logprobs(Role::Actor);
const VALUES: Reading = Reading::Values(Role::Critic);

impl Ilql {
    fn heads(&self) -> &'static [(ActionHead, ActionHead)] {
        const BOTH: [(ActionHead, ActionHead); 2] = [
            (ActionHead::First, ActionHead::FirstTarget),
            (ActionHead::Second, ActionHead::SecondTarget),
        ];
        if self.two_heads { &BOTH } else { &BOTH[..1] }
    }
}

impl Objective for Ilql {
    type Batch = IlqlBatch;

    fn reads(&self) -> Vec<Request> {
        let mut requests = vec![Request::differentiable(ACTOR), Request::differentiable(VALUES)];
        for &(head, target) in self.heads() {
            requests.push(Request::differentiable(Reading::ActionValue(head)));
            requests.push(Request::differentiable(Reading::ActionLogSum(head)));
            requests.push(Request::constant(Reading::ActionValue(target)));
        }
        requests
    }

    fn loss(&self, outputs: &Outputs, batch: &IlqlBatch) -> Result<Loss, CoreError> {
        let mean = |x: Tensor<1>| x.mul(batch.weights.clone()).sum();
        let values = outputs.get(VALUES)?;
        let after = values.clone().without_autodiff().select(0, batch.next.clone());
        let goal = after.mul(batch.goes_on.clone()).mul_scalar(self.gamma);
        let goal = goal.add(batch.rewards.clone());
        let (mut q_error, mut cql, mut least) = (None, None, None);
        for &(head, target) in self.heads() {
            let q = outputs.get(Reading::ActionValue(head))?;
            add(&mut q_error, mean(q.clone().sub(goal.clone()).square()));
            add(&mut cql, mean(outputs.get(Reading::ActionLogSum(head))?.sub(q)));
            let target = outputs.get(Reading::ActionValue(target))?;
            least = Some(match least.take() {
                Some(least) => target.min_pair(least),
                None => target,
            });
        }
        let missing =
            || CoreError::MissingReading { reading: Reading::ActionValue(ActionHead::First) };
        let (q_error, cql) = (q_error.ok_or_else(missing)?, cql.ok_or_else(missing)?);
        let lead = least.ok_or_else(missing)?.sub(values);
        let below = lead.clone().without_autodiff().lower_elem(0.0).float();
        // τ above, 1 − τ below.
        let slope = below.mul_scalar(1.0 - 2.0 * self.tau).add_scalar(self.tau);
        let value_error = mean(lead.clone().square().mul(slope));
        let trust = lead.without_autodiff().mul_scalar(self.beta).exp();
        let likelihood = mean(outputs.get(ACTOR)?.mul(trust)).neg();
        let loss = q_error
            .clone()
            .add(value_error.clone())
            .add(cql.clone().mul_scalar(self.cql_scale))
            .add(likelihood.clone().mul_scalar(self.awac_scale));
        let stats = vec![
            ("loss_q", q_error),
            ("loss_v", value_error),
            ("loss_cql", cql),
            ("loss_awac", likelihood),
        ];
        Ok(Loss { value: loss, stats })
    }
}

fn add(sum: &mut Option<Tensor<1>>, term: Tensor<1>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum.add(term),
        None => term,
    });
}

/// The micro-batches of a minibatch of responses with rewards.
///
/// # Errors
/// Rewards that are not finite or not one per response token; an empty prompt or response.
pub fn ilql_batch(
    rows: &[IlqlRow],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, IlqlBatch)>, AlgorithmError> {
    for row in rows {
        check_targets(&row.sequence, &row.rewards)?;
    }
    let total: usize = rows.iter().map(|row| row.rewards.len()).sum();
    let one = |part: &[IlqlRow]| {
        let tokens = TokenBatch::new(part.iter().map(|row| row.sequence.clone()).collect())?;
        let rewards: Vec<f32> = part.iter().flat_map(|row| row.rewards.iter().copied()).collect();
        let count = rewards.len();
        let (mut next, mut goes_on) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for length in tokens.response_lengths() {
            for t in 1..=length {
                let last = t == length;
                next.push(next.len() as i64 + i64::from(!last));
                goes_on.push(if last { 0.0 } else { 1.0 });
            }
        }
        let batch = IlqlBatch {
            rewards: vector(rewards, device),
            next: Tensor::from_data(TensorData::new(next, [count]), device),
            goes_on: vector(goes_on, device),
            weights: vector(vec![1.0 / total as f32; count], device),
        };
        Ok((tokens, batch))
    };
    rows.chunks(micro_batch.max(1)).map(one).collect()
}
