//! Predicted and measured bytes of a run.

use crate::recipe::Recipe;
use anyhow::Result;
use hydralign::kernels::CountingAllocator;
use hydralign::memory::{Dtype, PhaseName, Prediction, Workload, predict};
use hydralign::prelude::*;
use hydralign::runs::PhaseClock;

/// Bytes that the run will need, before it starts.
///
/// # Errors
/// A shape or workload that does not fit together.
pub fn prediction(
    placement: &Placement,
    shape: &ModelShape,
    recipe: &Recipe,
    prompt_tokens: usize,
) -> Result<Prediction> {
    let batch = recipe.ppo.prompts * recipe.ppo.samples;
    let minibatch = batch.div_ceil(recipe.ppo.ppo.minibatches);
    let workload = Workload {
        batch,
        generate_batch: recipe.generation.batch_size.min(batch),
        score_batch: recipe.ppo.ppo.score_batch.min(batch),
        minibatch,
        micro_batch: recipe.ppo.ppo.micro_batch.min(minibatch),
        prompt_tokens,
        response_tokens: recipe.generation.max_new_tokens,
        dtype: Dtype::F32,
        trained_dtype: Dtype::F32,
    };
    Ok(predict(placement, shape, &recipe.lora, &workload)?)
}

/// A clock that also records peak bytes per phase, counted by the allocator of this binary.
///
/// `floor` is what was live before the bank was built and is not part of the run's footprint.
pub fn clock(floor: u64) -> PhaseClock {
    let peak = move || Some(CountingAllocator::peak().saturating_sub(floor));
    PhaseClock::new().with_memory(peak, CountingAllocator::reset_peak)
}

/// The prediction's name of a phase.
pub fn phase_name(phase: Phase) -> Option<PhaseName> {
    match phase {
        Phase::Generate => Some(PhaseName::Generate),
        Phase::Score => Some(PhaseName::Score),
        Phase::Update => Some(PhaseName::Update),
        _ => None,
    }
}
