//! Predicted and measured bytes of a run.

use crate::recipe::Recipe;
use anyhow::Result;
use hydralign::families::Architecture;
use hydralign::kernels::CountingAllocator;
use hydralign::memory::{Method, PhaseName, Prediction, Profile, Workload, predict};
use hydralign::prelude::*;
use hydralign::runs::PhaseClock;

/// The workload of a run's reinforcement learning.
pub fn workload(recipe: &Recipe, prompt_tokens: usize) -> Workload {
    let batch = recipe.ppo.prompts * recipe.ppo.samples;
    let minibatch = batch.div_ceil(recipe.ppo.ppo.minibatches);
    Workload {
        generate_batch: recipe.generation.batch_size.min(batch),
        score_batch: recipe.ppo.ppo.score_batch.min(batch),
        minibatch,
        micro_batch: recipe.ppo.ppo.micro_batch.min(minibatch),
        ..Workload::uniform(batch, prompt_tokens, recipe.generation.max_new_tokens)
    }
}

/// Bytes that the run will need, before it starts.
///
/// # Errors
/// A shape or workload that does not fit together.
pub fn prediction(
    placement: &Placement,
    architecture: &Architecture,
    recipe: &Recipe,
    prompt_tokens: usize,
) -> Result<Prediction> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (method, profile) = (Method::ppo(placement), Profile::flex(threads));
    Ok(predict(&method, architecture, &recipe.lora, &workload(recipe, prompt_tokens), &profile)?)
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
