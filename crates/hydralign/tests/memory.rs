//! Predicted bytes beside measured ones, for every method: the prediction runs the models with bytes
//! instead of numbers, the measurement counts what models, losses and optimizer really allocate.
//!
//! `cargo test --workspace --test memory -- --nocapture` prints the tables; with `HYDRALIGN_FULL_TESTS`
//! set, every method meets every workload on every architecture.
#![allow(clippy::print_stdout, reason = "`--nocapture` shows the tables")]

mod common;

use burn::tensor::Device;
use common::categories::{Case, Counted};
use common::drive::{checkpoint, peak, warm_up_threads};
use hydralign_families::{Architecture, architecture};
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{Activity, Category, Dtype, Estimate, Method, Profile, Work, Workload};
use hydralign_placement::{Execution, LoraShape, Placement};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Relative difference that is allowed between the predicted and the measured peak of a phase.
const TOLERANCE: f64 = 0.03;

/// Four blocks with grouped queries.
fn llama() -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 1024, "hidden_size": 192, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 3,
        "max_position_embeddings": 512, "tie_word_embeddings": false,
    });
    architecture(&config, Path::new("llama")).unwrap()
}

/// Narrow blocks under a large, tied vocabulary; biases.
fn wide() -> Architecture {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 8192, "hidden_size": 96, "intermediate_size": 288,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "tie_word_embeddings": true,
    });
    architecture(&config, Path::new("qwen2")).unwrap()
}

/// Parallel residuals, layer norms, partial rotation, one projection for queries, keys and values.
fn neox() -> Architecture {
    let config = json!({
        "model_type": "gpt_neox", "vocab_size": 1024, "hidden_size": 160, "intermediate_size": 640,
        "num_hidden_layers": 4, "num_attention_heads": 5, "rotary_pct": 0.25,
        "max_position_embeddings": 512, "use_parallel_residual": true, "hidden_act": "gelu",
        "tie_word_embeddings": false,
    });
    architecture(&config, Path::new("gpt_neox")).unwrap()
}

fn architectures() -> [(&'static str, Architecture); 3] {
    [("llama", llama()), ("qwen2", wide()), ("gpt_neox", neox())]
}

/// A split minibatch, long prompts in whole ones, long responses one by one.
fn workloads() -> [Workload; 3] {
    let uniform = Workload::uniform;
    [
        Workload { micro_batch: 4, ..uniform(8, 24, 24) },
        uniform(2, 150, 42),
        Workload { micro_batch: 1, ..uniform(4, 8, 72) },
    ]
}

fn lora() -> LoraShape {
    LoraShape { rank: 8, ..LoraShape::default() }
}

fn profile() -> Profile {
    Profile::flex(rayon_threads())
}

fn rayon_threads() -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Every method, with all weights trained and with adapters; and PPO whose reward is no model of it.
fn methods() -> Vec<Method> {
    let all = Method::all();
    let placed = |m: &&Method| !m.name.contains("ppo");
    let adapted: Vec<Method> =
        all.iter().filter(placed).map(|m| m.clone().with_adapter()).collect();
    let ruled = [Placement::ppo(), Placement::hydra_ppo()].map(|placement| {
        let mut placement = placement.without_reward();
        placement.name += " by rules";
        Method::ppo(&placement)
    });
    all.into_iter().chain(adapted).chain(ruled).collect()
}

/// What an activity's bytes depend on beside the workload: where methods differ in their advantages
/// alone, sampling and reading are measured once.
fn same_bytes(activity: &Activity) -> Option<String> {
    let learns = matches!(activity.work, Work::Learn(_));
    let mut placement = activity.placement.clone();
    placement.name.clear();
    (!learns).then(|| format!("{placement:?} {:?} {}", activity.work, activity.optimizer))
}

/// One phase, predicted and measured.
struct Comparison {
    what: String,
    predicted: u64,
    measured: u64,
}

impl Comparison {
    fn ratio(&self) -> f64 {
        self.predicted as f64 / self.measured as f64
    }
}

fn compare(name: &str, a: &Architecture, w: &Workload, methods: &[Method]) -> Vec<Comparison> {
    let (lora, profile, device) = (lora(), profile(), Device::flex());
    let start = checkpoint(a, &device);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut rows = Vec::new();
    for method in methods {
        let estimate = Estimate::new(method, a, &lora, w, &profile).unwrap();
        for activity in &method.activities {
            let footprint = estimate.activity(activity).unwrap();
            // The batch of a rollout is not part of these runs.
            let predicted = footprint.total() - footprint.get(Category::Experience);
            let key = same_bytes(activity);
            let known = key.as_ref().and_then(|key| seen.get(key).copied());
            let measured =
                known.unwrap_or_else(|| peak(method, activity, &start, &lora, w, &device));
            seen.extend(key.map(|key| (key, measured)));
            let what = format!("{name:<22} {:<22} {:<9}", method.name, activity.phase);
            rows.push(Comparison { what, predicted, measured });
        }
    }
    rows
}

/// Prints the table and fails on what is out of tolerance.
fn check(rows: &[Comparison]) {
    println!(
        "{:<22} {:<22} {:<9} {:>12} {:>12} {:>7}",
        "model", "method", "phase", "predicted", "measured", "ratio"
    );
    for row in rows {
        println!("{} {:>12} {:>12} {:>7.4}", row.what, row.predicted, row.measured, row.ratio());
    }
    let [low, high] = [f64::min as fn(f64, f64) -> f64, f64::max]
        .map(|pick| rows.iter().map(Comparison::ratio).fold(1.0, pick));
    println!("{} phases, predicted / measured from {low:.4} to {high:.4}", rows.len());
    let wrong = |row: &&Comparison| (row.ratio() - 1.0).abs() > TOLERANCE;
    let wrong: Vec<String> = (rows.iter().filter(wrong))
        .map(|row| {
            format!("{} {} / {} = {:.4}", row.what, row.predicted, row.measured, row.ratio())
        })
        .collect();
    assert!(wrong.is_empty(), "predicted / measured:\n{}", wrong.join("\n"));
}

/// Makes what threads keep for ever.
fn warm_up() {
    let (device, lora) = (Device::flex(), lora());
    warm_up_threads(&device);
    let start = checkpoint(&llama(), &device);
    for method in [Method::sft(), Method::spr()] {
        for activity in &method.activities {
            peak(&method, activity, &start, &lora, &workloads()[0], &device);
        }
    }
}

#[test]
fn predicted_bytes_are_held() {
    warm_up();
    every_category();
    every_phase_of_every_method();
    passes_in_pieces();
    frozen_matrices_in_16_bits();
}

fn every_phase_of_every_method() {
    let methods = methods();
    let mut rows = Vec::new();
    for (k, (name, a)) in architectures().into_iter().enumerate() {
        for (i, w) in workloads().iter().enumerate() {
            // Without the full sweep each method is run once, and each architecture and workload nine times.
            let picked = |j: &usize| common::full() || (j % 3, j / 3 % 3) == (k, i);
            let methods: Vec<Method> =
                (0..methods.len()).filter(picked).map(|j| methods[j].clone()).collect();
            rows.extend(compare(&format!("{name}, workload {i}"), &a, w, &methods));
        }
    }
    check(&rows);
}

fn passes_in_pieces() {
    let of = |logprob_chunk, segment_blocks| Execution { logprob_chunk, segment_blocks };
    let executions = [of(Some(16), None), of(None, Some(1)), of(Some(40), Some(3))];
    let named = |name: &str| Method::by_name(name).unwrap();
    // Without the full sweep the joint loss, two passes with adapters, pairs: with one way of cutting
    // on each architecture.
    let mut methods = ["hydra_sft", "hydra_ppo", "dpo"].map(named).to_vec();
    if common::full() {
        methods.extend(["sft", "ppo"].map(named));
        methods.push(named("grpo").with_adapter());
    }
    let ways = if common::full() { executions.len() } else { 1 };
    let mut rows = Vec::new();
    for (k, ((name, a), w)) in architectures().into_iter().zip(workloads()).enumerate() {
        for execution in executions.into_iter().cycle().skip(k).take(ways) {
            let w = Workload { execution, ..w.clone() };
            let name =
                format!("{name} {:?} {:?}", execution.logprob_chunk, execution.segment_blocks);
            rows.extend(compare(&name, &a, &w, &methods));
        }
    }
    check(&rows);
}

fn frozen_matrices_in_16_bits() {
    let names: &[&str] =
        if common::full() { &["ppo", "hydra_ppo", "dpo", "spr"] } else { &["hydra_ppo", "dpo"] };
    let methods: Vec<Method> = names.iter().map(|n| Method::by_name(n).unwrap()).collect();
    let execution = Execution { logprob_chunk: None, segment_blocks: Some(1) };
    let mut rows = Vec::new();
    for execution in [Execution::default(), execution] {
        let w = Workload { frozen_dtype: Dtype::Bf16, execution, ..workloads()[0].clone() };
        let name = format!("llama bf16 {:?}", execution.segment_blocks);
        rows.extend(compare(&name, &llama(), &w, &methods));
    }
    check(&rows);
}

/// Relative difference that is allowed between a category's prediction and its count.
const CATEGORY_TOLERANCE: f64 = 0.05;

fn every_category() {
    let (lora, placements) = (lora(), [Placement::ppo(), Placement::hydra_ppo()]);
    let mut rows = Vec::new();
    for (k, ((name, a), workload)) in architectures().iter().zip(&workloads()).enumerate() {
        let both = placements.iter().enumerate();
        let picked = both.filter(|(j, _)| common::full() || *j == k % 2).map(|(_, p)| p);
        for placement in picked {
            let name = format!("{name} {}", placement.name);
            let placement = placement.clone();
            rows.extend(Case { name, placement, architecture: a, lora: &lora, workload }.count());
        }
    }
    let ratio = |row: &Counted| row.predicted as f64 / row.measured as f64;
    println!(
        "{:<22} {:<14} {:>12} {:>12} {:>7}",
        "model", "category", "predicted", "measured", "ratio"
    );
    for row in &rows {
        println!("{} {:>12} {:>12} {:>7.4}", row.what, row.predicted, row.measured, ratio(row));
    }
    let wrong = |row: &&Counted| (ratio(row) - 1.0).abs() > CATEGORY_TOLERANCE;
    let wrong: Vec<&str> = rows.iter().filter(wrong).map(|row| row.what.as_str()).collect();
    assert!(wrong.is_empty(), "categories out of tolerance:\n{}", wrong.join("\n"));
}
