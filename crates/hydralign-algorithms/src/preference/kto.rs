use crate::rows::Rows;
use crate::settings::check_positive;
use crate::weights::vector;
use crate::{AlgorithmError, Readout};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use hydralign_core::{
    CoreError, Loss, Objective, Outputs, Reading, Request, Role, Roles, Sequence, TokenBatch,
};
use serde::{Deserialize, Serialize};

/// Kahneman–Tversky optimisation: single responses that are good or bad, no pairs (Ethayarajh et
/// al. 2024, eq. 8).
///
/// ℓ = λ_D·(1 − σ(β·(ρ − z₀)))  for a desirable response, ρ = (log π − log π_ref)(y)
/// ℓ = λ_U·(1 − σ(β·(z₀ − ρ)))  for an undesirable one
///
/// z₀ estimates KL(π‖π_ref) and has no gradient; see [`kto_baseline`]. Where λ_D·n_D is far from
/// λ_U·n_U the authors advise weights with a ratio between 1 and 4/3.
///
/// Statistics: `kto_loss`; `desirable_reward` and `undesirable_reward`, sums of β·ρ over one over the
/// minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kto {
    /// β.
    pub beta: f64,
    /// λ_D.
    pub desirable_weight: f64,
    /// λ_U.
    pub undesirable_weight: f64,
}

impl Default for Kto {
    fn default() -> Self {
        Self { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0 }
    }
}

/// A response with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct KtoExample {
    /// Prompt and response.
    pub sequence: Sequence,
    /// True if the response is a good one.
    pub desirable: bool,
    /// log π_ref of the response, summed over its tokens.
    pub reference: f32,
}

/// What the loss needs beside the readings.
#[derive(Clone, Debug)]
pub struct KtoBatch {
    rows: Rows,
    /// log π_ref of each row, `[rows]`.
    reference: Tensor<1>,
    /// +1 for a desirable row, −1 for another, `[rows]`.
    sign: Tensor<1>,
    /// One over the rows of the whole minibatch, `[rows]`.
    weights: Tensor<1>,
    /// z₀.
    baseline: f64,
}

const ACTOR: Reading = Reading::Logprobs(Role::Actor);

impl Objective for Kto {
    type Batch = KtoBatch;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(ACTOR)]
    }

    fn loss(&self, outputs: &Outputs, batch: &KtoBatch) -> Result<Loss, CoreError> {
        let ratio = batch.rows.exact_sum(outputs.get(ACTOR)?).sub(batch.reference.clone());
        let lead = ratio.clone().sub_scalar(batch.baseline).mul(batch.sign.clone());
        let loss = sigmoid(lead.mul_scalar(self.beta)).neg().add_scalar(1.0);
        let good = batch.sign.clone().add_scalar(1.0).mul_scalar(0.5);
        let bad = good.clone().neg().add_scalar(1.0);
        let lambda = good.clone().mul_scalar(self.desirable_weight);
        let lambda = lambda.add(bad.clone().mul_scalar(self.undesirable_weight));
        let value = loss.mul(lambda).mul(batch.weights.clone()).sum();
        let reward = ratio.without_autodiff().mul_scalar(self.beta).mul(batch.weights.clone());
        let stats = vec![
            ("kto_loss", value.clone()),
            ("desirable_reward", reward.clone().mul(good).sum()),
            ("undesirable_reward", reward.mul(bad).sum()),
        ];
        Ok(Loss { value, stats })
    }
}

/// z₀ = max(0, mean over the minibatch of (log π − log π_ref)(y′|x)), where y′ is the response to
/// *another* prompt: each prompt with the response of its successor, the last with the first's.
///
/// Read once for a whole minibatch, so that it does not depend on the micro-batches (in TRL it is of
/// the micro-batch of one device, averaged over devices). A mismatched row may be longer than both
/// of those that it is made of: beyond `context` positions its response is cut, as in TRL.
///
/// `model` answers actor and reference.
///
/// # Errors
/// [`AlgorithmError::Empty`] for fewer than two rows, whose mismatched responses would be their own;
/// what reading reports.
pub fn kto_baseline<M: Roles + ?Sized>(
    model: &M,
    examples: &[KtoExample],
    context: usize,
    rows: usize,
) -> Result<f64, AlgorithmError> {
    if examples.len() < 2 {
        return Err(AlgorithmError::Empty {
            what: "other prompts' responses to estimate z₀ with"
        });
    }
    let after = examples.iter().cycle().skip(1);
    let mismatch = |(own, other): (&KtoExample, &KtoExample)| {
        let prompt = own.sequence.prompt.clone();
        let mut row = Sequence { prompt, ..other.sequence.clone() };
        row.truncate_response(context.saturating_sub(row.prompt.len()).max(1));
        row
    };
    let mismatched: Vec<Sequence> = examples.iter().zip(after).map(mismatch).collect();
    let reference = Reading::Logprobs(Role::Reference);
    let read = Readout::of(model, &mismatched, &[ACTOR, reference], 1.0, rows)?;
    let ratios = read.sums(ACTOR)?.into_iter().zip(read.sums(reference)?).map(|(p, q)| p - q);
    Ok((ratios.sum::<f64>() / examples.len() as f64).max(0.0))
}

/// What the two labels weigh against each other in a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelBalance {
    /// n_D, responses that are good.
    pub desirable: usize,
    /// n_U, the others.
    pub undesirable: usize,
    /// λ_D·n_D / λ_U·n_U.
    pub ratio: f64,
}

impl LabelBalance {
    /// Whether the ratio is within the authors' range, 1 to 4/3 (Ethayarajh et al. 2024, eq. 9).
    pub fn is_advised(&self) -> bool {
        const SLACK: f64 = 1e-9;
        (1.0 - SLACK..=4.0 / 3.0 + SLACK).contains(&self.ratio)
    }
}

impl Kto {
    /// Checks the settings among themselves.
    ///
    /// # Errors
    /// [`AlgorithmError::Setting`] for a β or weight that is not finite and positive.
    pub fn validate(&self) -> Result<(), AlgorithmError> {
        check_positive("beta", self.beta)?;
        check_positive("desirable_weight", self.desirable_weight)?;
        check_positive("undesirable_weight", self.undesirable_weight)
    }

    /// How these weights balance the labels of a data set.
    pub fn balance(&self, labels: impl IntoIterator<Item = bool>) -> LabelBalance {
        let (mut desirable, mut undesirable) = (0, 0);
        for label in labels {
            *(if label { &mut desirable } else { &mut undesirable }) += 1;
        }
        let weighed = self.desirable_weight * desirable as f64;
        let ratio = weighed / (self.undesirable_weight * undesirable as f64);
        LabelBalance { desirable, undesirable, ratio }
    }
}

/// The micro-batches of a minibatch of labelled responses.
///
/// # Errors
/// An empty prompt or response, named by row.
pub fn kto_batch(
    examples: &[KtoExample],
    baseline: f64,
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, KtoBatch)>, CoreError> {
    let one = |part: &[KtoExample]| {
        let tokens = TokenBatch::new(part.iter().map(|e| e.sequence.clone()).collect())?;
        let sign = |e: &KtoExample| if e.desirable { 1.0 } else { -1.0 };
        let batch = KtoBatch {
            rows: Rows::new(&tokens.response_lengths(), device),
            reference: vector(part.iter().map(|e| e.reference).collect(), device),
            sign: vector(part.iter().map(sign).collect(), device),
            weights: vector(vec![1.0 / examples.len() as f32; part.len()], device),
            baseline,
        };
        Ok((tokens, batch))
    };
    examples.chunks(micro_batch.max(1)).map(one).collect()
}
