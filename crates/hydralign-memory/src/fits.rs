use crate::{Estimate, MemoryError, Workload};
use std::collections::BTreeMap;

/// Searches how much a run may take at once, with every prediction made once.
///
/// A micro-batch of n here means n items (episodes, rows or pairs) in every pass: sampled, read and learnt
/// from together. Batch and minibatch stay as they are, so n is at most the minibatch.
#[derive(Clone, Debug)]
pub struct MicroBatches<'a> {
    estimate: Estimate<'a>,
    /// Largest phase by micro-batch, as far as predicted.
    peaks: BTreeMap<usize, u64>,
}

impl<'a> MicroBatches<'a> {
    /// A search over the micro-batches of an estimate's workload.
    pub fn of(estimate: &Estimate<'a>) -> Self {
        Self { estimate: estimate.clone(), peaks: BTreeMap::new() }
    }

    /// The largest micro-batch whose prediction is within a number of bytes; none if not even one item
    /// fits.
    ///
    /// The whole minibatch is tried first: it needs no second set of gradients, so it may fit where a part
    /// of it does not. Below it more items never take less (up to the rounding of packing buffers), and
    /// the search doubles and bisects: one more item than the answer does not fit.
    ///
    /// # Errors
    /// As [`Estimate::new`].
    pub fn largest_within(&mut self, budget: u64) -> Result<Option<usize>, MemoryError> {
        let whole = self.estimate.workload.minibatch;
        if self.peak(whole)? <= budget {
            return Ok(Some(whole));
        }
        let (mut fits, mut over) = (0, 1);
        while over < whole && self.peak(over)? <= budget {
            (fits, over) = (over, over.saturating_mul(2).min(whole));
        }
        while over - fits > 1 {
            let middle = usize::midpoint(fits, over);
            if self.peak(middle)? <= budget {
                fits = middle;
            } else {
                over = middle;
            }
        }
        Ok((fits > 0).then_some(fits))
    }

    /// Bytes of the largest phase; what does not fit into 64 bits is as large as can be.
    fn peak(&mut self, micro_batch: usize) -> Result<u64, MemoryError> {
        if let Some(&peak) = self.peaks.get(&micro_batch) {
            return Ok(peak);
        }
        let Estimate { method, architecture, lora, workload, profile } = self.estimate.clone();
        let workload = workload.clone().in_passes_of(micro_batch);
        let peak = match crate::predict(method, architecture, lora, &workload, profile) {
            Ok(prediction) => prediction.peak().map_or(0, |(_, footprint)| footprint.total()),
            Err(MemoryError::Overflow { .. }) => u64::MAX,
            Err(other) => return Err(other),
        };
        self.peaks.insert(micro_batch, peak);
        Ok(peak)
    }
}

impl Estimate<'_> {
    /// [`MicroBatches::largest_within`] for a single budget.
    ///
    /// # Errors
    /// As [`Estimate::new`].
    pub fn largest_micro_batch(&self, budget: u64) -> Result<Option<usize>, MemoryError> {
        MicroBatches::of(self).largest_within(budget)
    }
}

impl Workload {
    /// The same batch with that many items in every pass: sampled, read and learnt from together.
    #[must_use]
    pub fn in_passes_of(self, items: usize) -> Self {
        Self { generate_batch: items, score_batch: items, micro_batch: items, ..self }
    }
}
