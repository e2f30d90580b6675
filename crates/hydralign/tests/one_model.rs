//! The peak of methods that hold one model is that of supervised fine-tuning, counted by the allocator.

mod common;

use hydralign::algorithms::{
    Temperature, nll_batch, pair_batch, reference_logprobs, sequences_of, weighted_batch,
    with_reference,
};
use hydralign::kernels::CountingAllocator;
use hydralign::models::{Architecture, ScalarHead, random_trunk};
use hydralign::prelude::*;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const ROWS: usize = 8;

/// Large enough that weights, gradients and moments outweigh the batch.
fn checkpoint() -> Checkpoint {
    let shape = ModelShape {
        vocab: 512,
        hidden: 128,
        intermediate: 344,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        ..common::shape()
    };
    let architecture = Architecture::llama(&shape, 64, common::STOP).unwrap();
    let device = Device::flex();
    Checkpoint {
        trunk: random_trunk(&architecture, false, 11, &device),
        adapter: None,
        reward_head: Some(ScalarHead::fresh(shape.hidden, false, 12, &device)),
    }
}

fn sequences() -> Vec<Sequence> {
    let response = |i: usize| (0..24).map(|t| 2 + ((7 * i + 3 * t) % 500) as u32).collect();
    (0..ROWS).map(|i| Sequence::new(vec![2; 8], response(i))).collect()
}

/// Highest bytes above the start over two optimizer steps, the model included.
fn peak(mut step: impl FnMut(&mut Learner<ModelBank>), placement: &Placement) -> u64 {
    let start = checkpoint();
    let floor = CountingAllocator::live();
    let bank = ModelBank::new(placement, &Start::joint(&start), &common::lora(), 3).unwrap();
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    step(&mut learner);
    CountingAllocator::reset_peak();
    step(&mut learner);
    CountingAllocator::peak() - floor
}

#[test]
fn spr_and_precomputed_dpo_peak_where_supervised_fine_tuning_does() {
    let device = Device::flex();
    common::drive::warm_up_threads(&device);
    let rows = sequences();
    let alone = Placement::policy("policy", false, false);
    let supervised = || {
        let step = |learner: &mut Learner<ModelBank>| {
            learner.step(&Nll, &nll_batch(&rows, ROWS, &device).unwrap(), 1e-3).unwrap();
        };
        peak(step, &Placement::sft())
    };
    // The first run makes what else is kept for ever.
    supervised();
    let sft = supervised();
    let groups: Vec<Vec<Sequence>> = rows.chunks(4).map(<[Sequence]>::to_vec).collect();
    let scores = vec![vec![0.1, 0.9, -0.4, 0.3]; 2];
    let method = Reweighting::spr(Temperature::Fixed { beta: 0.5 });
    let weighted = method.weigh(&groups, &scores, None).unwrap().rows;
    let spr = peak(
        |learner| {
            let batches = weighted_batch(&weighted, ROWS, &device).unwrap();
            learner.step(&Nll, &batches, 1e-3).unwrap();
        },
        &alone,
    );
    let pair = |pair: &[Sequence]| Pair {
        chosen: pair[0].clone(),
        rejected: pair[1].clone(),
        reference: None,
    };
    let pairs: Vec<Pair> = rows.chunks(2).map(pair).collect();
    let known = {
        let frozen = ModelBank::frozen(checkpoint());
        let reading = Reading::Logprobs(Role::Actor);
        let values = reference_logprobs(&frozen, reading, &sequences_of(&pairs), ROWS).unwrap();
        with_reference(pairs.clone(), &values).unwrap()
    };
    let objective = Preference::new(Dpo::default());
    let dpo = peak(
        |learner| {
            let batches = pair_batch(&known, ROWS / 2, &device).unwrap();
            learner.step(&objective, &batches, 1e-3).unwrap();
        },
        &alone,
    );
    let live = peak(
        |learner| {
            let objective = Preference { live: true, ..objective };
            let batches = pair_batch(&pairs, ROWS / 2, &device).unwrap();
            learner.step(&objective, &batches, 1e-3).unwrap();
        },
        &Placement::policy("policy", true, false),
    );
    let ratio = |bytes: u64| bytes as f64 / sft as f64;
    assert!((ratio(spr) - 1.0).abs() < 0.05, "SPR {spr}, SFT {sft}");
    assert!((ratio(dpo) - 1.0).abs() < 0.05, "DPO {dpo}, SFT {sft}");
    assert!(ratio(live) > 1.1, "with its reference live DPO holds more: {live}, SFT {sft}");
}
