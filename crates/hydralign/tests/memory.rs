//! Predicted bytes beside measured ones, for every method: the prediction runs the models with bytes
//! instead of numbers, the measurement counts what models, losses and optimizer really allocate.

mod common;

use burn::tensor::Device;
use common::drive::{Held, checkpoint, run};
use hydralign_families::{Architecture, architecture};
use hydralign_kernels::CountingAllocator;
use hydralign_memory::{Category, Estimate, Method, PhaseName, Profile, Workload};
use hydralign_placement::LoraShape;
use serde_json::json;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn llama() -> Architecture {
    let config = json!({
        "model_type": "llama", "vocab_size": 1024, "hidden_size": 192, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 3,
        "max_position_embeddings": 512, "tie_word_embeddings": false,
    });
    architecture(&config, Path::new("llama")).unwrap()
}

fn wide() -> Architecture {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 8192, "hidden_size": 96, "intermediate_size": 288,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "tie_word_embeddings": true,
    });
    architecture(&config, Path::new("qwen2")).unwrap()
}

fn neox() -> Architecture {
    let config = json!({
        "model_type": "gpt_neox", "vocab_size": 1024, "hidden_size": 160, "intermediate_size": 640,
        "num_hidden_layers": 4, "num_attention_heads": 5, "rotary_pct": 0.25,
        "max_position_embeddings": 512, "use_parallel_residual": true, "hidden_act": "gelu",
        "tie_word_embeddings": false,
    });
    architecture(&config, Path::new("gpt_neox")).unwrap()
}

fn pieces() -> Vec<hydralign_placement::Execution> {
    let e = |logprob_chunk, segment_blocks| hydralign_placement::Execution {
        logprob_chunk,
        segment_blocks,
    };
    vec![e(Some(16), None), e(None, Some(1)), e(Some(40), Some(2)), e(None, Some(3))]
}

#[test]
fn pieces_hold() {
    let lora = LoraShape { rank: 8, ..LoraShape::default() };
    let profile = Profile::flex(2);
    measure(&Method::sft(), PhaseName::Update, &llama(), &lora, &workloads()[0]);
    let only = std::env::var("ONLY").unwrap_or_default();
    for (name, a) in [("llama", llama()), ("wide", wide()), ("neox", neox())] {
        for (i, w) in workloads().iter().enumerate() {
            for (j, e) in pieces().into_iter().enumerate() {
                for method in methods() {
                    if !format!("{name} {i} {j} {} ", method.name).contains(&only) {
                        continue;
                    }
                    let w = &Workload { execution: e, ..w.clone() };
                    let estimate = Estimate::new(&method, &a, &lora, w, &profile).unwrap();
                    let prediction = estimate.predict().unwrap();
                    for (phase, footprint) in prediction.iter() {
                        if phase == PhaseName::Generate {
                            continue;
                        }
                        let measured = measure(&method, phase, &a, &lora, w);
                        let predicted = footprint.total() - footprint.get(Category::Experience);
                        println!(
                            "{name} {i} {:<20} {phase:<9} {predicted:>10} {measured:>10} {:.4} {} {j}",
                            method.name,
                            predicted as f64 / measured as f64,
                            predicted as i64 - measured as i64
                        );
                    }
                }
            }
        }
    }
}

fn workloads() -> [Workload; 3] {
    let uniform = Workload::uniform;
    let split = |micro_batch| Workload { micro_batch, ..uniform(8, 24, 24) };
    [split(4), uniform(2, 150, 42), Workload { micro_batch: 1, ..uniform(4, 8, 72) }]
}

fn methods() -> Vec<Method> {
    let all = Method::all();
    let placed = |m: &&Method| !m.name.contains("ppo");
    let adapted = all.iter().filter(placed).map(|m| m.clone().with_adapter());
    all.iter().cloned().chain(adapted.collect::<Vec<_>>()).collect()
}

/// The most bytes of an activity, in the second of two equal rounds.
fn measure(
    method: &Method,
    phase: PhaseName,
    a: &Architecture,
    lora: &LoraShape,
    w: &Workload,
) -> u64 {
    let device = Device::flex();
    let start = checkpoint(a, &device);
    let mut most = 0;
    for activity in method.activities.iter().filter(|a| a.phase == phase) {
        let before = CountingAllocator::live();
        let mut held = Held::new(activity, &start, lora, w);
        if activity.optimizer {
            for other in method.activities.iter().filter(|a| a.optimizer) {
                run(method, other, &mut held, w, &device);
            }
        }
        run(method, activity, &mut held, w, &device);
        CountingAllocator::reset_peak();
        run(method, activity, &mut held, w, &device);
        most = most.max(CountingAllocator::peak() - before);
    }
    most
}

#[test]
fn predicted_bytes_are_held() {
    let lora = LoraShape { rank: 8, ..LoraShape::default() };
    let profile = Profile::flex(2);
    measure(&Method::sft(), PhaseName::Update, &llama(), &lora, &workloads()[0]);
    let only = std::env::var("ONLY").unwrap_or_default();
    for (name, a) in [("llama", llama()), ("wide", wide()), ("neox", neox())] {
        for (i, w) in workloads().iter().enumerate() {
            for method in methods() {
                if !format!("{name} {i} {} ", method.name).contains(&only) {
                    continue;
                }
                let estimate = Estimate::new(&method, &a, &lora, w, &profile).unwrap();
                let t = std::time::Instant::now();
                let prediction = estimate.predict().unwrap();
                let t = t.elapsed();
                for (phase, footprint) in prediction.iter() {
                    let measured = measure(&method, phase, &a, &lora, w);
                    let predicted = footprint.total() - footprint.get(Category::Experience);
                    println!(
                        "{name} {i} {:<20} {phase:<9} {predicted:>10} {measured:>10} {:.4} {} {t:?}",
                        method.name,
                        predicted as f64 / measured as f64,
                        predicted as i64 - measured as i64
                    );
                    let _ = footprint;
                }
            }
        }
    }
}
