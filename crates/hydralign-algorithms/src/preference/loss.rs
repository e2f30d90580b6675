use super::PairBatch;
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use hydralign_core::{CoreError, Loss, Objective, Outputs, Reading, Request, Role};

/// One response of each pair.
#[derive(Clone, Debug)]
pub struct Side {
    /// log π(y|x), summed over the response. `[pairs]`, differentiable.
    pub logprob: Tensor<1>,
    /// log π_ref(y|x); zeros where the loss has no reference. `[pairs]`.
    pub reference: Tensor<1>,
    /// Tokens of the response. `[pairs]`.
    pub length: Tensor<1>,
}

impl Side {
    /// log π(y|x) − log π_ref(y|x). `[pairs]`.
    pub fn log_ratio(&self) -> Tensor<1> {
        self.logprob.clone().sub(self.reference.clone())
    }

    /// log π(y|x)/|y|. `[pairs]`.
    pub fn mean_logprob(&self) -> Tensor<1> {
        self.logprob.clone().div(self.length.clone())
    }
}

/// A loss of pairs: what a new preference method has to say.
pub trait PairLoss {
    /// Whether the loss compares with a reference policy.
    fn needs_reference(&self) -> bool;

    /// The reward that the policy itself implies for a response, `[pairs]`.
    fn reward(&self, side: &Side) -> Tensor<1>;

    /// The loss of each pair, `[pairs]`.
    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1>;
}

impl<L: PairLoss + ?Sized> PairLoss for Box<L> {
    fn needs_reference(&self) -> bool {
        (**self).needs_reference()
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        (**self).reward(side)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        (**self).terms(chosen, rejected)
    }
}

/// −(1 − ε)·log σ(h) − ε·log σ(−h): the loss of a pair with logit h whose label is flipped with
/// probability ε.
pub(super) fn logistic(h: Tensor<1>, epsilon: f64) -> Tensor<1> {
    let kept = log_sigmoid(h.clone()).mul_scalar(epsilon - 1.0);
    if epsilon == 0.0 {
        return kept;
    }
    kept.sub(log_sigmoid(h.neg()).mul_scalar(epsilon))
}

/// Learning from pairs: a [`PairLoss`] and, where `nll_weight` is not 0, the negative
/// log-likelihood of the chosen responses.
///
/// L = Σ_i w_i·ℓ(y_w, y_l) + α·Σ_t u_t·(−log π(y_w,t))
///
/// with w one over the pairs and u one over the chosen tokens of the whole minibatch. The
/// reference log-probabilities come with the batch, where they were read once and kept
/// ([`reference_logprobs`](crate::reference_logprobs)), or are read along (`live`).
///
/// A pair whose responses are the same has ℓ without a gradient (ln 2 for DPO) and changes
/// nothing but the mean; the statistics count it as a tie.
///
/// Statistics: `preference_loss`; `accuracy`, the share of pairs whose chosen response has the
/// higher implied reward (ties count half, and so do leads within the rounding of the sums); `margin`, `chosen_reward` and `rejected_reward`, means
/// of the implied rewards; `nll` where it is part of the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Preference<L> {
    /// The loss of a pair.
    pub loss: L,
    /// α.
    pub nll_weight: f64,
    /// Read the reference along, rather than take it from the batch.
    pub live: bool,
}

impl<L> Preference<L> {
    /// The loss alone, with references that come with the batch.
    pub fn new(loss: L) -> Self {
        Self { loss, nll_weight: 0.0, live: false }
    }
}

impl<L: PairLoss> Preference<L> {
    /// What rounding may make of a side's implied reward: that of a few of the last bits of its
    /// log-probability, by which passes with and without a gradient differ.
    fn rounding(&self, side: &Side) -> Tensor<1> {
        let last_bits = Side {
            logprob: side.logprob.clone().without_autodiff().mul_scalar(8.0 * f32::EPSILON),
            reference: side.reference.zeros_like(),
            length: side.length.clone(),
        };
        self.loss.reward(&last_bits).abs()
    }
}

const ACTOR: Reading = Reading::Logprobs(Role::Actor);
const REFERENCE: Reading = Reading::Logprobs(Role::Reference);

impl<L: PairLoss> Objective for Preference<L> {
    type Batch = PairBatch;

    fn reads(&self) -> Vec<Request> {
        let mut requests = vec![Request::differentiable(ACTOR)];
        if self.live && self.loss.needs_reference() {
            requests.push(Request::constant(REFERENCE));
        }
        requests
    }

    fn loss(&self, outputs: &Outputs, batch: &PairBatch) -> Result<Loss, CoreError> {
        let logprobs = outputs.get(ACTOR)?;
        let reference = match (self.loss.needs_reference(), self.live) {
            (false, _) => None,
            (true, true) => Some(batch.rows.host_sum(&outputs.to_vec(REFERENCE)?)),
            (true, false) => {
                let given = batch.reference.clone();
                Some(given.ok_or(CoreError::MissingReading { reading: REFERENCE })?)
            }
        };
        let (chosen, rejected) = batch.sides(logprobs.clone(), reference);
        let weights = batch.weights.clone();
        let preference = self.loss.terms(&chosen, &rejected).mul(weights.clone()).sum();
        let mut stats = vec![("preference_loss", preference.clone())];
        let reward = |side| self.loss.reward(side).without_autodiff();
        let (good, bad) = (reward(&chosen), reward(&rejected));
        let lead = good.clone().sub(bad.clone());
        let noise = self.rounding(&chosen).add(self.rounding(&rejected));
        let tied = lead.clone().abs().lower_equal(noise);
        let sign = lead.clone().mask_fill(tied, 0.0).sign();
        let right = sign.add_scalar(1.0).mul_scalar(0.5);
        let mean = |x: Tensor<1>| x.mul(weights.clone()).sum();
        stats.push(("accuracy", mean(right)));
        stats.push(("margin", mean(lead)));
        stats.push(("chosen_reward", mean(good)));
        stats.push(("rejected_reward", mean(bad)));
        let mut value = preference;
        if self.nll_weight != 0.0 {
            let nll = logprobs.mul(batch.chosen_tokens.clone()).sum().neg();
            value = value.add(nll.clone().mul_scalar(self.nll_weight));
            stats.push(("nll", nll));
        }
        Ok(Loss { value, stats })
    }
}
