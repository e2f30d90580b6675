//! Predicted and measured bytes of a run.

use crate::recipe::Recipe;
use anyhow::Result;
use hydralign::algorithms::Experience;
use hydralign::burn::module::Module;
use hydralign::families::Architecture;
use hydralign::kernels::CountingAllocator;
use hydralign::memory::{
    AllocatorMeter, Category, Meter, Method, PhaseName, Prediction, Profile, Workload, predict,
};
use hydralign::prelude::*;
use hydralign::runs::{Above, Ledger, PhaseClock, PoolMeter};

/// Bytes of a 32-bit number.
const NUMBER: u64 = 4;

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

/// Bytes of a checkpoint's numbers.
pub fn checkpoint_bytes(checkpoint: &Checkpoint) -> u64 {
    let adapter = checkpoint.adapter.as_ref().map_or(0, |a| a.parameters());
    let head = checkpoint.reward_head.as_ref().map_or(0, |h| h.num_params());
    NUMBER * (checkpoint.trunk.num_params() + adapter + head) as u64
}

/// Writes into a ledger what a bank holds, with the checkpoint that is kept beside it, and
/// nothing else. Returns the bytes that its optimizer will hold after the first step.
pub fn hold_models(
    ledger: &Ledger,
    bank: &ModelBank,
    beside: Option<&Checkpoint>,
    lora: &LoraShape,
) -> u64 {
    let placement = bank.placement();
    let trunks: Vec<_> = (0..placement.trunks.len()).filter_map(|i| bank.trunk(i)).collect();
    let adapters = placement.adapters.iter().filter_map(|a| bank.adapter(&a.name));
    let heads = [Role::Critic, Role::Reward].into_iter().filter_map(|role| bank.head(role));
    let weights: u64 = trunks.iter().map(|trunk| trunk.num_params() as u64).sum();
    ledger.clear();
    ledger.hold(Category::Weights, NUMBER * weights + beside.map_or(0, checkpoint_bytes));
    ledger.hold(Category::Adapters, NUMBER * adapters.map(|a| a.parameters() as u64).sum::<u64>());
    ledger.hold(Category::Heads, NUMBER * heads.map(|h| h.num_params() as u64).sum::<u64>());
    // AdamW: two moments a trained number.
    trunks.first().map_or(0, |trunk| {
        2 * NUMBER * placement.trained_parameters(&trunk.architecture().shape, lora)
    })
}

/// Bytes of the numbers of an experience, on the host.
pub fn experience_bytes(experience: &Experience) -> u64 {
    let numbers = experience.samples.iter().map(|s| {
        let response = [
            s.episode.response.len(),
            s.episode.logprobs.len(),
            s.episode.policy_logprobs.len(),
            s.old_logprobs.len(),
            s.ref_logprobs.len(),
            s.values.len(),
            s.rewards.len(),
            s.kl.len(),
            s.advantages.len(),
            s.returns.len(),
        ];
        (s.episode.prompt.len() + response.iter().sum::<usize>()) as u64
    });
    NUMBER * numbers.sum::<u64>()
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
