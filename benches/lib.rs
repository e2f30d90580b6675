//! Fixed shapes and seeded inputs of the benches.

use hydralign::core::random;
use hydralign::models::{Architecture, ModelBank, ScalarHead, random_trunk};
use hydralign::prelude::*;
use hydralign::rollout::Key;

/// A Llama of 4 M parameters, the shape that the side-by-side with PyTorch uses.
pub fn shape_a() -> ModelShape {
    ModelShape {
        vocab: 2048,
        hidden: 256,
        intermediate: 688,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        tied: false,
        parts: Parts::default(),
    }
}

/// The shape of the shipped base model, 0.8 M parameters.
pub fn shape_task() -> ModelShape {
    ModelShape {
        vocab: 476,
        hidden: 128,
        intermediate: 344,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        tied: true,
        parts: Parts::default(),
    }
}

/// Random weights of a shape, with a reward head.
///
/// # Panics
/// Never for the shapes above.
pub fn checkpoint(shape: &ModelShape) -> Checkpoint {
    let device = Device::flex();
    let architecture = Architecture::llama(shape, 512, 1).expect("the shape is consistent");
    Checkpoint {
        trunk: random_trunk(&architecture, false, 1, &device),
        adapter: None,
        reward_head: Some(ScalarHead::fresh(shape.hidden, false, 2, &device)),
    }
}

/// A bank over random weights, with adapters of rank 16 where the placement has any.
///
/// # Panics
/// Never for a valid placement.
pub fn bank(placement: &Placement, shape: &ModelShape) -> ModelBank {
    let checkpoint = checkpoint(shape);
    let lora = LoraShape { rank: 16, alpha: 32.0, ..LoraShape::default() };
    ModelBank::new(placement, &Start::joint(&checkpoint), &lora, 3).expect("a valid placement")
}

/// `rows` random prompts of one length.
pub fn prompts(rows: usize, tokens: usize, vocab: usize) -> Vec<Prompt> {
    let token = |row: usize, i: usize| {
        2 + (random::bits(5, row as u64, i as u64) % (vocab as u64 - 2)) as u32
    };
    let prompt = |row: usize| Prompt {
        row: Some(row),
        tokens: (0..tokens).map(|i| token(row, i)).collect(),
        key: Key { seed: 7, episode: row as u64 },
    };
    (0..rows).map(prompt).collect()
}

/// `rows` random sequences, one prompt token each, the rest response.
pub fn sequences(rows: usize, tokens: usize, vocab: usize) -> Vec<Sequence> {
    let whole = |p: Prompt| Sequence::new(p.tokens[..1].to_vec(), p.tokens[1..].to_vec());
    prompts(rows, tokens, vocab).into_iter().map(whole).collect()
}
