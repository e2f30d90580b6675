use crate::settings::check;
use crate::{AlgorithmError, Learner, StepReport};
use hydralign_core::random::permutation;
use hydralign_core::{CoreError, Differentiable, Objective, TokenBatch};

/// The order in which items are visited: each epoch is a permutation of its own, cut into
/// minibatches; the last, shorter minibatch of an epoch is kept.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    /// Items per epoch.
    pub items: usize,
    /// Items per minibatch.
    pub minibatch: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// Seed of the permutations.
    pub seed: u64,
}

impl Epochs {
    /// Minibatches of all epochs.
    pub fn steps(&self) -> usize {
        self.epochs.saturating_mul(self.items.div_ceil(self.minibatch.max(1)))
    }

    /// Item indices of every minibatch, in order.
    pub fn minibatches(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        (0..self.epochs).flat_map(|epoch| self.epoch(epoch))
    }

    /// Item indices of the minibatches of one epoch.
    fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let order = permutation(self.items, self.seed, epoch as u64);
        order.chunks(self.minibatch.max(1)).map(<[usize]>::to_vec).collect()
    }
}

/// The same order for losses that compare the rows of a minibatch: a last minibatch of a single row,
/// which has nothing to compare with, joins the one before it.
#[derive(Clone, Copy, Debug)]
pub struct ComparedEpochs(Epochs);

impl ComparedEpochs {
    /// # Errors
    /// [`AlgorithmError::Setting`] for minibatches of fewer than two rows, [`AlgorithmError::Empty`] for
    /// fewer than two items.
    pub fn new(epochs: Epochs) -> Result<Self, AlgorithmError> {
        let minibatch = epochs.minibatch;
        let expected = "at least 2: the rows of a minibatch are compared with each other";
        check(minibatch >= 2, "minibatch", minibatch as f64, expected)?;
        if epochs.items < 2 {
            return Err(AlgorithmError::Empty { what: "second item to compare the first with" });
        }
        Ok(Self(epochs))
    }

    /// Minibatches of all epochs.
    pub fn steps(&self) -> usize {
        self.0.epochs.saturating_mul(self.per_epoch())
    }

    /// Minibatches of one epoch.
    fn per_epoch(&self) -> usize {
        let Epochs { items, minibatch, .. } = self.0;
        let joins = items % minibatch == 1 && items > minibatch;
        items.div_ceil(minibatch) - usize::from(joins)
    }

    /// Item indices of every minibatch, in order.
    pub fn minibatches(&self) -> impl Iterator<Item = Vec<usize>> {
        let epochs = self.0;
        (0..epochs.epochs).flat_map(move |epoch| {
            let mut parts = epochs.epoch(epoch);
            if let Some(alone) = parts.pop_if(|last| last.len() == 1)
                && let Some(before) = parts.last_mut()
            {
                before.extend(alone);
            }
            parts
        })
    }
}

/// Trains on minibatches until the epochs are over or `after_step` says to stop.
///
/// `lr` maps the step, from 1, to the learning rate. `batch` makes the micro-batches of a
/// minibatch from item indices. `after_step` returns false to stop early.
///
/// # Errors
/// As [`Learner::step`]; the learner then holds the weights of the last good step.
pub fn train_minibatches<M, O>(
    learner: &mut Learner<M>,
    objective: &O,
    epochs: &Epochs,
    lr: impl Fn(usize) -> f64,
    batch: impl Fn(&[usize]) -> Result<Vec<(TokenBatch, O::Batch)>, CoreError>,
    mut after_step: impl FnMut(usize, &StepReport) -> bool,
) -> Result<(), AlgorithmError>
where
    M: Differentiable,
    O: Objective,
{
    if epochs.items == 0 {
        return Err(AlgorithmError::Empty { what: "items" });
    }
    for (index, items) in epochs.minibatches().enumerate() {
        let step = index + 1;
        let report = learner.step(objective, &batch(&items)?, lr(step))?;
        if !after_step(step, &report) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is skipped and no minibatch is alone.
    #[test]
    fn compared_minibatches_hold_every_item_of_an_epoch_once() {
        for (items, minibatch, epochs) in
            (2..20).flat_map(|n| (2..9).flat_map(move |m| (1..3).map(move |e| (n, m, e))))
        {
            let all = ComparedEpochs::new(Epochs { items, minibatch, epochs, seed: 3 }).unwrap();
            let parts: Vec<Vec<usize>> = all.minibatches().collect();
            assert_eq!(parts.len(), all.steps());
            assert!(parts.iter().all(|p| (2..=minibatch + 1).contains(&p.len())));
            let mut seen = vec![0; items];
            parts.iter().flatten().for_each(|&i| seen[i] += 1);
            assert!(seen.iter().all(|&n| n == epochs), "{items} {minibatch}");
        }
    }

    #[test]
    fn a_minibatch_of_one_has_nothing_to_compare() {
        let epochs = |items, minibatch| Epochs { items, minibatch, epochs: 1, seed: 0 };
        assert!(ComparedEpochs::new(epochs(5, 1)).is_err());
        assert!(ComparedEpochs::new(epochs(1, 4)).is_err());
    }
}
