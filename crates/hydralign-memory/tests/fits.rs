//! The search for the largest micro-batch, against predictions for every one.

use hydralign_families::{Architecture, published};
use hydralign_memory::{Dtype, Estimate, MemoryError, Method, Profile, Workload, predict};
use hydralign_placement::{LoraShape, ModelShape, Parts};

const BATCH: usize = 13;

fn small() -> Architecture {
    let shape = ModelShape {
        vocab: 320,
        hidden: 48,
        intermediate: 128,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        tied: false,
        parts: Parts::default(),
    };
    Architecture::llama(&shape, 64, 0).unwrap()
}

/// Peaks of micro-batches 1, 2 … `BATCH`.
fn peaks(method: &Method, architecture: &Architecture, workload: &Workload) -> Vec<u64> {
    let (lora, profile) = (LoraShape::default(), Profile::flex(2));
    let peak = |n| {
        let workload = workload.clone().in_passes_of(n);
        let prediction = predict(method, architecture, &lora, &workload, &profile).unwrap();
        prediction.peak().unwrap().1.total()
    };
    (1..=workload.minibatch).map(peak).collect()
}

fn largest(
    method: &Method,
    architecture: &Architecture,
    workload: &Workload,
    budget: u64,
) -> Result<Option<usize>, MemoryError> {
    let (lora, profile) = (LoraShape::default(), Profile::flex(2));
    Estimate::new(method, architecture, &lora, workload, &profile)?.largest_micro_batch(budget)
}

#[test]
fn the_answer_is_that_of_trying_every_micro_batch() {
    let (architecture, workload) = (small(), Workload::uniform(BATCH, 9, 11).in_passes_of(1));
    let Workload { batch, minibatch, generate_batch, score_batch, micro_batch, .. } = workload;
    let sizes = [batch, minibatch, generate_batch, score_batch, micro_batch];
    assert_eq!(sizes, [BATCH, BATCH, 1, 1, 1]);
    for method in Method::all() {
        let peaks = peaks(&method, &architecture, &workload);
        let budgets = peaks.iter().flat_map(|&p| [p - 1, p]).chain([0, u64::MAX]);
        for budget in budgets {
            let fitting = (1..=BATCH).filter(|n| peaks[n - 1] <= budget).max();
            let found = largest(&method, &architecture, &workload, budget).unwrap();
            assert_eq!(found, fitting, "{} within {budget}: {peaks:?}", method.name);
        }
    }
}

/// Two parts of a minibatch need two sets of gradients; the whole needs one.
#[test]
fn a_whole_minibatch_may_fit_where_a_part_does_not() {
    let (method, architecture) = (Method::sft(), small());
    let workload = Workload::uniform(2, 1, 1).in_passes_of(1);
    let peaks = peaks(&method, &architecture, &workload);
    assert!(peaks[1] < peaks[0], "{peaks:?}");
    assert_eq!(largest(&method, &architecture, &workload, peaks[1]).unwrap(), Some(2));
}

/// Touvron et al.'s 7B in 16 bits is 13.5 GB: on a card of 24 GB Hydra-PPO fits and PPO, which holds four
/// such models and 12 more bytes for each parameter of two of them, does not.
#[test]
fn hydra_ppo_of_llama_2_7b_fits_where_ppo_does_not() {
    let architecture = published("Llama-2-7B").unwrap();
    let workload = Workload::uniform(4, 64, 64).in_dtype(Dtype::Bf16).in_passes_of(1);
    let within = |name: &str, gigabytes: u64| {
        let method = Method::by_name(name).unwrap();
        largest(&method, &architecture, &workload, gigabytes * 1_000_000_000).unwrap()
    };
    assert!(within("hydra_ppo", 24).is_some());
    assert_eq!(within("hydra_ppo", 13), None);
    assert_eq!(within("ppo", 80), None);
}

#[test]
fn what_is_beyond_counting_does_not_fit() {
    let (architecture, method) = (small(), Method::hydra_sft());
    let workload = Workload::uniform(usize::MAX, 32, 32).in_passes_of(1);
    let found = largest(&method, &architecture, &workload, 1 << 40).unwrap().unwrap();
    assert!((1 << 10..1 << 30).contains(&found), "{found}");
    let zero = workload.in_passes_of(0);
    let error = largest(&method, &architecture, &zero, 1).unwrap_err();
    assert_eq!(error, MemoryError::Zero { field: "generate_batch" });
}
