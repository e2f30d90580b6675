//! What passes in pieces save, counted by the allocator. One test, for the count is of the process.
#![allow(clippy::print_stderr, reason = "`--nocapture` shows the numbers")]

mod common;

use hydralign::algorithms::nll_batch;
use hydralign::burn::tensor::activation::log_softmax;
use hydralign::burn::tensor::{Int, Tensor};
use hydralign::core::{CoreError, Differentiable, Objective};
use hydralign::kernels::{CountingAllocator, LogProb, TokenSlopes, Vocabulary};
use hydralign::models::{Architecture, ScalarHead, StoredDtype, random_trunk};
use hydralign::prelude::*;
use std::num::NonZeroUsize;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const MIB: f64 = (1 << 20) as f64;

/// The most MiB above those held before, what `work` returns included.
fn peak<T>(work: impl FnOnce() -> T) -> f64 {
    let before = CountingAllocator::live();
    CountingAllocator::reset_peak();
    drop(work());
    (CountingAllocator::peak() - before) as f64 / MIB
}

/// Tokens, hidden size and vocabulary of the head: its logits are 256 MiB, its matrix 64 MiB; or half
/// and a quarter of that where sweeps are quick.
fn head() -> [usize; 3] {
    if common::full() { [2048, 512, 32_768] } else { [1024, 128, 32_768] }
}

/// Loss Σ log p of a head alone: at once, and 128 tokens at a time.
fn head_peaks([n, hidden, vocab]: [usize; 3], trained: bool) -> [f64; 2] {
    let device = Device::flex();
    let states = Tensor::<2>::full([n, hidden], 0.01, &device);
    let weight = Tensor::<2>::full([hidden, vocab], 0.01, &device);
    let targets = Tensor::<1, Int>::full([n], 7, &device);
    let at_once = peak(|| {
        let states = states.clone().autodiff().require_grad();
        let weight =
            if trained { weight.clone().autodiff().require_grad() } else { weight.clone() };
        let log_p = log_softmax(states.matmul(weight), 1);
        log_p.gather(1, targets.clone().reshape([n, 1])).sum().backward()
    });
    let kernel = LogProb {
        vocabulary: Vocabulary::Head(weight.clone()),
        temperature: 1.0,
        softcap: None,
        chunk: NonZeroUsize::new(128).unwrap(),
    };
    let in_pieces = peak(|| {
        let found = kernel.forward(states.clone(), targets.clone(), false).unwrap();
        let logprobs = Some(Tensor::<1>::full([n], 1.0, &device));
        let slopes = TokenSlopes { logprobs, entropies: None };
        kernel.backward(states.clone(), targets.clone(), &found, &slopes, trained).unwrap()
    });
    [at_once, in_pieces]
}

fn bank(placement: &Placement) -> ModelBank {
    let shape = ModelShape {
        vocab: 2048,
        hidden: 256,
        intermediate: 688,
        layers: 8,
        heads: 8,
        kv_heads: 4,
        head_dim: 32,
        ..common::shape()
    };
    let architecture = Architecture::llama(&shape, 512, common::STOP).unwrap();
    let device = Device::flex();
    let start = Checkpoint {
        trunk: random_trunk(&architecture, false, 11, &device),
        adapter: None,
        reward_head: Some(ScalarHead::fresh(shape.hidden, false, 12, &device)),
    };
    ModelBank::new(placement, &Start::joint(&start), &common::lora(), 3).unwrap()
}

/// Peak MiB of the gradient of 16 × 128 tokens, or half as many where sweeps are quick.
fn gradient_peak(placement: &Placement, execution: Execution) -> f64 {
    let bank = bank(placement).with_execution(execution).unwrap();
    let response = |i: usize| (0..127).map(|t| 2 + ((7 * i + 3 * t) % 2000) as u32).collect();
    let count = if common::full() { 16 } else { 8 };
    let rows: Vec<Sequence> = (0..count).map(|i| Sequence::new(vec![2], response(i))).collect();
    let (tokens, weights) = nll_batch(&rows, 16, &Device::flex()).unwrap().remove(0);
    peak(|| {
        bank.differentiate(&Nll.reads(), &tokens, |outputs| {
            Ok::<_, CoreError>(Nll.loss(outputs, &weights)?.value)
        })
        .unwrap()
    })
}

#[test]
fn pieces_hold_less() {
    common::drive::warm_up_threads(&Device::flex());
    head_peaks([256, 512, 2048], true); // What else is set up once.
    let mut report = String::new();
    let [logits, matrix] = [head()[0], head()[1]].map(|n| (4 * n * head()[2]) as f64 / MIB);
    for (trained, most) in [(false, 40.0), (true, 41.0 + matrix)] {
        let [at_once, in_pieces] = head_peaks(head(), trained);
        report += &format!("head, trained {trained}: {at_once:.1} → {in_pieces:.1} MiB\n");
        assert!(at_once > 2.7 * logits && in_pieces < most, "{report}");
    }
    for placement in [Placement::sft(), Placement::sft().with_adapter("own")] {
        let of = |logprob_chunk, segment_blocks| {
            gradient_peak(&placement, Execution { logprob_chunk, segment_blocks })
        };
        let [plain, chunks] = [of(None, None), of(Some(128), None)];
        let [ones, twos, both] = [of(None, Some(1)), of(None, Some(2)), of(Some(128), Some(1))];
        report += &format!(
            "{}: {plain:.1} MiB, chunks {chunks:.1}, segments of 1 {ones:.1}, of 2 {twos:.1}, both {both:.1}\n",
            placement.trunks[0].trainable
        );
        assert!(chunks < 0.97 * plain && ones < 0.5 * plain && twos < 0.7 * plain, "{report}");
        assert!(both < 0.4 * plain, "{report}");
    }
    let wide = bank(&Placement::sft().with_adapter("own"));
    let held = CountingAllocator::live();
    let narrow = wide.with_frozen_dtype(StoredDtype::Bf16).unwrap();
    let freed = held - CountingAllocator::live();
    // Two of four bytes of the embedding and of the projections.
    let blocks = 8 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 688);
    let expected = 2 * (2048 * 256 + blocks) as u64;
    report += &format!("bf16: {} MiB less\n", freed as f64 / MIB);
    assert!(freed.abs_diff(expected) < 4096, "{freed} bytes, not {expected}");
    drop(narrow);
    eprintln!("{report}");
}
