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
        self.epochs * self.items.div_ceil(self.minibatch.max(1))
    }

    /// Item indices of every minibatch, in order.
    pub fn minibatches(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        (0..self.epochs).flat_map(|epoch| {
            let order = permutation(self.items, self.seed, epoch as u64);
            order.chunks(self.minibatch.max(1)).map(<[usize]>::to_vec).collect::<Vec<_>>()
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
