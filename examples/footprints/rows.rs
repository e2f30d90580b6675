//! What every method needs on every model.

use super::Model;
use anyhow::{Result, anyhow};
use hydralign::memory::{
    Cost, Estimate, Footprint, Method, MicroBatches, PhaseName, Profile, Workload,
};
use hydralign::placement::LoraShape;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Memory of common graphics cards in gigabytes (10⁹ bytes).
pub const CARDS: [u64; 4] = [16, 24, 40, 80];

const GIGABYTE: u64 = 1_000_000_000;
/// Threads of the backend that is predicted for; fixed, so that a table does not depend on where it was
/// made.
const THREADS: usize = 8;

/// What the rows are computed for.
pub struct Question {
    /// Batches, lengths and number formats.
    pub workload: Workload,
    /// The adapters.
    pub lora: LoraShape,
    /// Whether every phase has a row, not only the largest.
    pub every_phase: bool,
}

/// One phase of a method on a model.
pub struct Row {
    /// Name of the method.
    pub method: String,
    /// The phase.
    pub phase: PhaseName,
    /// Whether no other phase needs more.
    pub is_peak: bool,
    /// Bytes of the phase.
    pub footprint: Footprint,
    /// The largest micro-batch that the method has room for on each of the [`CARDS`].
    pub fits: [Option<usize>; CARDS.len()],
    /// Operations and passes of the method for one item.
    pub cost: Cost,
}

/// The rows of one model.
pub struct ModelRows {
    /// Name of the model.
    pub model: String,
    /// Its parameters.
    pub parameters: u64,
    /// The rows, method by method.
    pub rows: Vec<Row>,
}

impl Question {
    /// The rows of every model. Models are shared out over the processor's cores.
    ///
    /// # Errors
    /// What does not fit together, with the model's name.
    pub fn answer(&self, models: &[Model], methods: &[Method]) -> Result<Vec<ModelRows>> {
        let (left, answers) = (AtomicUsize::new(models.len()), Mutex::new(BTreeMap::new()));
        let work = || {
            // From the end, where the largest of the published models are.
            let next =
                || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            while let Ok(n) = next() {
                let model = &models[n - 1];
                let rows = self.model(model, methods).map_err(|e| anyhow!("{}: {e}", model.name));
                answers.lock().unwrap_or_else(PoisonError::into_inner).insert(n, rows);
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            (0..cores.min(models.len())).for_each(|_| drop(scope.spawn(work)));
        });
        answers.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }

    fn model(&self, model: &Model, methods: &[Method]) -> Result<ModelRows> {
        let mut rows = Vec::new();
        for method in methods {
            rows.extend(self.rows(model, method)?);
        }
        let parameters = model.architecture.shape.parameters();
        Ok(ModelRows { model: model.name.clone(), parameters, rows })
    }

    fn rows(&self, model: &Model, method: &Method) -> Result<Vec<Row>> {
        let profile = Profile::flex(THREADS);
        let (architecture, lora) = (&model.architecture, &self.lora);
        let estimate = Estimate::new(method, architecture, lora, &self.workload, &profile)?;
        let (prediction, cost) = (estimate.predict()?, estimate.cost()?);
        let mut search = MicroBatches::of(&estimate);
        let mut fits = [None; CARDS.len()];
        for (fits, card) in fits.iter_mut().zip(CARDS) {
            *fits = search.largest_within(card * GIGABYTE)?;
        }
        let peak = prediction.peak().map(|(phase, _)| phase);
        let row = |(phase, footprint): (PhaseName, &Footprint)| Row {
            method: method.name.clone(),
            phase,
            is_peak: Some(phase) == peak,
            footprint: footprint.clone(),
            fits,
            cost,
        };
        Ok(prediction.iter().map(row).filter(|row| self.every_phase || row.is_peak).collect())
    }
}
