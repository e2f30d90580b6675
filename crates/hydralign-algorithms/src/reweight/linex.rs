use crate::settings::check_positive;
use crate::weights::vector;
use crate::{AlgorithmError, Readout};
use burn::tensor::{Device, Tensor};
use hydralign_advantage::AdvantageError;
use hydralign_core::{
    CoreError, Loss, Objective, Outputs, Reading, Request, Role, Roles, Sequence, TokenBatch,
};
use serde::{Deserialize, Serialize};

/// Gumbel (LINEX) regression of a soft value, W_φ.
///
/// L = E\[ e^z − z − 1 \],  z = (q − W_φ(s))/β
///
/// Its minimiser is W(s) = β·log E\[exp(q/β)\]: what [`soft_value`](hydralign_advantage::soft_value)
/// estimates from the samples of one prompt, shared among prompts. So it also works with one sample
/// each.
///
/// z is clipped from above, and the loss multiplied by e^{−m}, m the largest z of the minibatch
/// (at least −1), which keeps its scale: as in the code of Extreme Q-Learning (Garg et al. 2023).
///
/// Statistics: `linex`, the loss; `clipped`, the share of states whose z is clipped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Linex {
    /// β.
    pub temperature: f64,
    /// Largest z.
    pub max_z: f64,
}

impl Default for Linex {
    /// β = 1, z at most 7.
    fn default() -> Self {
        Self { temperature: 1.0, max_z: 7.0 }
    }
}

/// What the loss needs beside the readings.
#[derive(Clone, Debug)]
pub struct LinexBatch {
    /// q of each state, packed `[tokens]`.
    pub targets: Tensor<1>,
    /// One over the states of the whole minibatch; 0 for tokens before which there is no state to
    /// fit. Packed `[tokens]`.
    pub weights: Tensor<1>,
    /// m of the whole minibatch.
    pub shift: f64,
}

const VALUES: Reading = Reading::Values(Role::Critic);

impl Objective for Linex {
    type Batch = LinexBatch;

    fn reads(&self) -> Vec<Request> {
        vec![Request::differentiable(VALUES)]
    }

    fn loss(&self, outputs: &Outputs, batch: &LinexBatch) -> Result<Loss, CoreError> {
        let z = batch.targets.clone().sub(outputs.get(VALUES)?).div_scalar(self.temperature);
        let above = z.clone().without_autodiff().greater_elem(self.max_z).float();
        let z = z.clamp_max(self.max_z);
        let scale = (-batch.shift).exp();
        let terms = z.clone().sub_scalar(batch.shift).exp().sub(z.mul_scalar(scale));
        let value = terms.sub_scalar(scale).mul(batch.weights.clone()).sum();
        let clipped = above.mul(batch.weights.clone()).sum();
        Ok(Loss { stats: vec![("linex", value.clone()), ("clipped", clipped)], value })
    }
}

impl Linex {
    /// m of a minibatch: the largest clipped z, at least −1.
    pub fn shift(&self, values: &[f32], targets: &[f32]) -> f64 {
        let z = |(&w, &q): (&f32, &f32)| (f64::from(q) - f64::from(w)) / self.temperature;
        let top = values.iter().zip(targets).map(z).fold(-1.0, f64::max);
        top.min(self.max_z)
    }
}

/// The micro-batches of a minibatch: the states before the response tokens of sequences, each with its
/// target q. W of a prompt is fitted with responses cut to their first token.
///
/// The values are read once without a graph for m of the whole minibatch.
///
/// # Errors
/// Targets that are not finite or not one per response token; β or the bound out of range; what
/// reading reports.
pub fn linex_batch<M: Roles + ?Sized>(
    model: &M,
    linex: &Linex,
    rows: &[(Sequence, Vec<f32>)],
    micro_batch: usize,
    device: &Device,
) -> Result<Vec<(TokenBatch, LinexBatch)>, AlgorithmError> {
    check_positive("temperature", linex.temperature)?;
    check_positive("max_z", linex.max_z)?;
    for (sequence, targets) in rows {
        check_targets(sequence, targets)?;
    }
    let sequences: Vec<Sequence> = rows.iter().map(|(s, _)| s.clone()).collect();
    let values = Readout::of(model, &sequences, &[VALUES], 1.0, micro_batch)?.take(VALUES)?;
    let targets: Vec<f32> = rows.iter().flat_map(|(_, q)| q.iter().copied()).collect();
    let shift = linex.shift(&values.concat(), &targets);
    let one = |part: &[(Sequence, Vec<f32>)]| {
        let tokens = TokenBatch::new(part.iter().map(|(s, _)| s.clone()).collect())?;
        let own: Vec<f32> = part.iter().flat_map(|(_, q)| q.iter().copied()).collect();
        let weights = vector(vec![1.0 / targets.len() as f32; own.len()], device);
        Ok((tokens, LinexBatch { targets: vector(own, device), weights, shift }))
    };
    rows.chunks(micro_batch.max(1)).map(one).collect()
}

/// One finite target per response token.
pub(crate) fn check_targets(sequence: &Sequence, targets: &[f32]) -> Result<(), AdvantageError> {
    if targets.len() != sequence.response_tokens() {
        return Err(AdvantageError::LengthMismatch {
            left: "targets",
            left_len: targets.len(),
            right: "response tokens",
            right_len: sequence.response_tokens(),
        });
    }
    match targets.iter().position(|q| !q.is_finite()) {
        Some(index) => {
            Err(AdvantageError::NonFinite { what: "targets", index, value: targets[index] })
        }
        None => Ok(()),
    }
}
