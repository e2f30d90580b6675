//! Plans keep their budgets: random methods, shapes, workloads and budgets, planned and then run.

mod common;

use burn::tensor::Device;
use common::drive::{checkpoint, peak, warm_up_threads};
use hydralign_core::random::uniform;
use hydralign_families::{Architecture, architecture};
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{Category, Job, MemoryError, Method, Plan, Profile, Rate, Rates, Workload};
use hydralign_placement::LoraShape;
use serde_json::json;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Plans that are made and run.
fn plans() -> u64 {
    if common::full() { 1_000 } else { 80 }
}

/// A device of plausible speed.
fn rates() -> Rates {
    let rate = |flops| Rate { flops, block_seconds: 2e-5 };
    Rates { generate: rate(2e10), read: rate(8e10), learn: rate(6e10) }
}

/// Random choices of one draw.
struct Draws(u64, u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        (uniform(self.0, self.1, 0) * n as f64) as usize
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

fn shape(d: &mut Draws) -> Architecture {
    let heads = d.of(&[2, 4]);
    let hidden = heads * d.of(&[8, 16]);
    let layers = 1 + d.below(5);
    let vocab = d.of(&[64, 300, 1024]);
    let config = match d.below(4) {
        0 => json!({
            "model_type": "gpt2", "vocab_size": vocab, "n_embd": hidden, "n_layer": layers,
            "n_head": heads, "n_positions": 64,
        }),
        1 => json!({
            "model_type": "gpt_neox", "vocab_size": vocab, "hidden_size": hidden,
            "intermediate_size": 4 * hidden, "num_hidden_layers": layers, "rotary_pct": 0.25,
            "num_attention_heads": heads, "max_position_embeddings": 64,
            "tie_word_embeddings": false,
        }),
        2 => json!({
            "model_type": "opt", "vocab_size": vocab, "hidden_size": hidden, "ffn_dim": 4 * hidden,
            "num_hidden_layers": layers, "num_attention_heads": heads,
            "max_position_embeddings": 64,
        }),
        _ => json!({
            "model_type": "llama", "vocab_size": vocab, "hidden_size": hidden,
            "intermediate_size": 3 * hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": d.of(&[1, heads]),
            "max_position_embeddings": 64, "tie_word_embeddings": d.of(&[true, false]),
        }),
    };
    architecture(&config, Path::new("drawn")).unwrap()
}

fn workload(d: &mut Draws) -> Workload {
    let batch = 1 + d.below(10);
    let minibatch = 1 + d.below(batch);
    Workload {
        generate_batch: 1 + d.below(batch),
        score_batch: 1 + d.below(batch),
        minibatch,
        micro_batch: 1 + d.below(minibatch),
        ..Workload::uniform(batch, 1 + d.below(20), 1 + d.below(20))
    }
}

fn methods() -> Vec<Method> {
    let all = Method::all();
    let adapted: Vec<Method> =
        all.iter().filter(|m| !m.name.contains("ppo")).map(|m| m.clone().with_adapter()).collect();
    all.into_iter().chain(adapted).collect()
}

/// The most that a planned run really holds.
fn measured(job: &Job<'_>, plan: &Plan, device: &Device) -> u64 {
    let start = checkpoint(job.architecture, device);
    let peaks = job
        .method
        .activities
        .iter()
        .map(|activity| peak(job.method, activity, &start, job.lora, &plan.workload, device));
    let experience =
        plan.prediction.iter().map(|(_, footprint)| footprint.get(Category::Experience)).max();
    peaks.max().unwrap_or(0) + experience.unwrap_or(0)
}

#[test]
fn planned_runs_stay_within_their_budgets() {
    let (device, methods, profile, rates) = (Device::flex(), methods(), Profile::flex(2), rates());
    warm_up_threads(&device);
    let (mut tight, mut changed, mut highest) = (0, 0, 0.0_f64);
    for index in 0..plans() {
        let mut d = Draws(5, index * 1_000);
        let (method, architecture, workload) = (d.of(&methods), shape(&mut d), workload(&mut d));
        let lora = LoraShape { rank: 1 + d.below(6), ..LoraShape::default() };
        let job = Job {
            method: &method,
            architecture: &architecture,
            lora: &lora,
            workload: &workload,
            profile: &profile,
            rates: &rates,
        };
        let least = match job.plan(1) {
            Err(MemoryError::NoFit(no)) => no.least,
            other => panic!("{}: {other:?}", method.name),
        };
        let most = job.plan(u64::MAX / 2).unwrap();
        let most = most.prediction.peak().unwrap().1.total();
        // From what is needed at least to what is needed without a budget.
        let share = d.below(101) as u64;
        let budget = least + most.saturating_sub(least) * share / 100;
        let plan = job.plan(budget).unwrap();
        let held = measured(&job, &plan, &device);
        let name = &method.name;
        assert!(
            held <= budget,
            "plan {index}, {name}: {held} of {budget} bytes, predicted {:?}, {:?}, {:?}",
            plan.prediction,
            plan.workload,
            architecture.shape
        );
        tight += u64::from(plan.workload != workload);
        changed += u64::from(plan.workload.execution != workload.execution);
        highest = highest.max(held as f64 / budget as f64);
    }
    assert!(
        tight > plans() / 4 && changed > plans() / 8,
        "budgets that are felt: {tight}, {changed}"
    );
    assert!(highest > 0.9, "plans use their budgets: {highest}");
}
