use crate::means::Means;
use crate::work::{learnt, read};
use crate::{TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{
    AlgorithmError, Learner, Pair, PairLoss, Preference, pair_batch, reference_logprobs,
    sequences_of, with_reference,
};
use hydralign_core::{Differentiable, Observer, Reading, Roles};

/// How the pairs of an iteration are learnt, in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairUpdate {
    /// Passes over the pairs.
    pub epochs: usize,
    /// Optimizer steps of a pass.
    pub minibatches: usize,
    /// Pairs that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Responses that are read at a time; memory depends on it, results do not.
    pub score_batch: usize,
}

impl Default for PairUpdate {
    /// One optimizer step on all pairs, 16 at a time; 64 responses are read at a time.
    fn default() -> Self {
        Self { epochs: 1, minibatches: 1, micro_batch: 16, score_batch: 64 }
    }
}

impl PairUpdate {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`AlgorithmError::Empty`] names a count of 0.
    pub fn validate(&self) -> Result<(), TrainError> {
        let counts = [
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("micro_batch", self.micro_batch),
            ("score_batch", self.score_batch),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(AlgorithmError::Empty { what }.into()),
            None => Ok(()),
        }
    }

    /// The pairs with the reference's log-probabilities, where the loss takes them from its batch.
    pub(crate) fn referred<M: Roles, L: PairLoss>(
        &self,
        objective: &Preference<L>,
        (model, reading): (&M, Reading),
        pairs: Vec<Pair>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Pair>, TrainError> {
        if !objective.loss.needs_reference() || objective.live || pairs.is_empty() {
            return Ok(pairs);
        }
        let rows = sequences_of(&pairs);
        let values = reference_logprobs(model, reading, &rows, self.score_batch)?;
        read(&rows, true, 1, observer);
        Ok(with_reference(pairs, &values)?)
    }

    /// Optimizer steps on all pairs; the means over the steps.
    pub(crate) fn learn<M: Differentiable, L: PairLoss>(
        &self,
        learner: &mut Learner<M>,
        objective: &Preference<L>,
        (pairs, lr): (&[Pair], f64),
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Values, TrainError> {
        if pairs.is_empty() {
            return Ok(vec![("update_steps".into(), 0.0)]);
        }
        learnt(&sequences_of(pairs), true, self.epochs, observer);
        let mut means = Means::default();
        for _ in 0..self.epochs {
            for part in pairs.chunks(pairs.len().div_ceil(self.minibatches)) {
                let batches = pair_batch(part, self.micro_batch, device)?;
                means.add(&learner.step(objective, &batches, lr)?);
            }
        }
        Ok(means.values())
    }
}
