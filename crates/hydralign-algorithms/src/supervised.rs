use crate::AlgorithmError;
use crate::settings::check;
use hydralign_core::random::{in_rounds, permutation};

/// Which items each minibatch of a run holds: a function of its number alone, so that a run can go on anywhere.
pub trait Order {
    /// Minibatches of all epochs.
    fn steps(&self) -> usize;

    /// The items of a minibatch, from 0.
    fn minibatch(&self, index: usize) -> Vec<usize>;

    /// The items of every minibatch, in order.
    fn minibatches(&self) -> impl Iterator<Item = Vec<usize>>
    where
        Self: Sized,
    {
        (0..self.steps()).map(|index| self.minibatch(index))
    }
}

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

impl Order for Epochs {
    fn steps(&self) -> usize {
        self.epochs.saturating_mul(self.items.div_ceil(self.minibatch.max(1)))
    }

    fn minibatch(&self, index: usize) -> Vec<usize> {
        let Self { items, minibatch, seed, .. } = *self;
        part(items, seed, index, items.div_ceil(minibatch.max(1)), minibatch.max(1))
    }
}

/// Minibatch `index`, of which an epoch has so many; the last of an epoch ends where the items do.
fn part(items: usize, seed: u64, index: usize, per_epoch: usize, minibatch: usize) -> Vec<usize> {
    if per_epoch == 0 {
        return Vec::new();
    }
    let (epoch, number) = (index / per_epoch, index % per_epoch);
    let end = if number + 1 == per_epoch { items } else { (number + 1) * minibatch };
    permutation(items, seed, epoch as u64)[number * minibatch..end].to_vec()
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

    /// Minibatches of one epoch.
    fn per_epoch(&self) -> usize {
        let Epochs { items, minibatch, .. } = self.0;
        let joins = items % minibatch == 1 && items > minibatch;
        items.div_ceil(minibatch) - usize::from(joins)
    }
}

impl Order for ComparedEpochs {
    fn steps(&self) -> usize {
        self.0.epochs.saturating_mul(self.per_epoch())
    }

    fn minibatch(&self, index: usize) -> Vec<usize> {
        let Epochs { items, minibatch, seed, .. } = self.0;
        part(items, seed, index, self.per_epoch(), minibatch)
    }
}

/// Minibatches of one size for a number of steps: the items are gone through in a new order each time round,
/// and a minibatch may begin in one round and end in the next.
#[derive(Clone, Copy, Debug)]
pub struct Cycles {
    /// Items that there are.
    pub items: usize,
    /// Items per minibatch.
    pub minibatch: usize,
    /// Number of minibatches.
    pub steps: usize,
    /// Seed of the orders.
    pub seed: u64,
}

impl Order for Cycles {
    fn steps(&self) -> usize {
        if self.items.min(self.minibatch) == 0 { 0 } else { self.steps }
    }

    fn minibatch(&self, index: usize) -> Vec<usize> {
        in_rounds(self.items, self.seed, index * self.minibatch, self.minibatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_hold_every_item_once_a_round_in_equal_minibatches() {
        let cycles = Cycles { items: 7, minibatch: 3, steps: 14, seed: 4 };
        let all: Vec<Vec<usize>> = cycles.minibatches().collect();
        assert!(all.len() == 14 && all.iter().all(|part| part.len() == 3));
        for round in all.concat().chunks(7) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_eq!(Cycles { items: 0, ..cycles }.steps(), 0);
        assert_eq!(Cycles { minibatch: 0, ..cycles }.steps(), 0);
    }

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
