use hydralign_core::Phase;
use hydralign_memory::Category;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one occurrence of a phase held, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseBytes {
    /// The phase.
    pub phase: Phase,
    /// Seconds since the run began when it began.
    pub start: f64,
    /// Seconds since the run began when it ended.
    pub end: f64,
    /// Held when it began.
    pub live_before: u64,
    /// Held when it ended.
    pub live_after: u64,
    /// The most that was held at once in between; as exact as the meter's peak.
    pub peak: u64,
    /// The part of the peak that is accounted for: what the run held for each category from
    /// the beginning of the phase to its end.
    pub held: BTreeMap<Category, u64>,
}

impl PhaseBytes {
    /// What the phase worked with at its peak: activations, logits, gradients, caches, workspace.
    ///
    /// peak − Σ over the categories that are held throughout, at least 0.
    pub fn working(&self) -> u64 {
        self.held.values().fold(self.peak, |left, &bytes| left.saturating_sub(bytes))
    }
}
