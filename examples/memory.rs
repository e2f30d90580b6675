//! Predicted and measured bytes of a run.

use crate::recipe::Recipe;
use anyhow::Result;
use hydralign::families::Architecture;
use hydralign::kernels::CountingAllocator;
use hydralign::memory::{
    AllocatorMeter, Meter, Method, PhaseName, Prediction, Profile, Workload, predict,
};
use hydralign::prelude::*;
use hydralign::runs::{Above, PhaseClock, PoolMeter};

/// The workload of a run's reinforcement learning.
pub fn workload(recipe: &Recipe, prompt_tokens: usize) -> Workload {
    let batch = recipe.ppo.prompts * recipe.ppo.samples;
    let minibatch = batch.div_ceil(recipe.ppo.ppo.minibatches);
    Workload {
        generate_batch: recipe.generation.batch_size.min(batch),
        score_batch: recipe.ppo.ppo.score_batch.min(batch),
        minibatch,
        micro_batch: recipe.ppo.ppo.micro_batch.min(minibatch),
        frozen_dtype: recipe.ppo.frozen_dtype,
        execution: recipe.ppo.execution,
        checkpoints: recipe.ppo.checkpoint_every > 0,
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
    let (method, workload) = (Method::ppo(placement), workload(recipe, prompt_tokens));
    Ok(predict(&method, architecture, &recipe.lora, &workload, &profile())?)
}

/// The CPU backend with the threads of this process.
pub fn profile() -> Profile {
    let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = || std::thread::available_parallelism().map_or(1, usize::from);
    Profile::flex(set.filter(|n| *n > 0).unwrap_or_else(threads))
}

/// Whether tensors of that device live in pools of its own and not on the host.
pub fn has_pools(device: &Device) -> bool {
    PoolMeter::new(device).bytes_in_use().is_some()
}

/// What counts the bytes of a run: the device's pools where it has some, else the allocator of
/// this binary.
pub fn meter(device: &Device) -> Box<dyn Meter> {
    match has_pools(device) {
        true => Box::new(PoolMeter::new(device)),
        false => Box::new(allocator()),
    }
}

fn allocator() -> AllocatorMeter {
    AllocatorMeter::new(CountingAllocator::live, CountingAllocator::peak)
        .with_reset(CountingAllocator::reset_peak)
}

/// A clock that also records peak bytes per phase, counted by the allocator of this binary.
///
/// `floor` is what was live before the bank was built and is not part of the run's footprint.
pub fn clock(floor: u64) -> PhaseClock {
    PhaseClock::new().with_memory(Above::new(allocator(), floor))
}

/// What the driver says that this process holds on the first NVIDIA board, pools and all else.
#[cfg(feature = "nvml")]
pub fn board() -> String {
    let read = hydralign::runs::NvmlMeter::new(0).map(|meter| meter.bytes_in_use());
    match read {
        Ok(Some(bytes)) => {
            format!("NVIDIA board 0: {} held", hydralign::memory::format_bytes(bytes))
        }
        Ok(None) => "NVIDIA board 0: the driver does not tell what this process holds".into(),
        Err(error) => error.to_string(),
    }
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
