//! A decoder whose logits are a fixed function of everything that its row has read.

#![allow(dead_code, reason = "each test binary uses its own part")]

use burn::tensor::{Device, Tensor, TensorData};
use hydralign_core::{CoreError, Decoder, Role};
use hydralign_rollout::{Key, Prompt};
use std::cell::RefCell;

/// What the engine asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Prefill { rows: usize, capacity: usize },
    Decode { rows: usize },
    Retain { rows: Vec<usize> },
}

pub(crate) struct Fake {
    pub(crate) vocab: usize,
    /// Logits of a history.
    pub(crate) logits: fn(&[u32], usize) -> Vec<f32>,
    pub(crate) calls: RefCell<Vec<Call>>,
}

impl Fake {
    pub(crate) fn new(vocab: usize) -> Self {
        Self::with(vocab, scrambled)
    }

    pub(crate) fn with(vocab: usize, logits: fn(&[u32], usize) -> Vec<f32>) -> Self {
        Self { vocab, logits, calls: RefCell::default() }
    }

    fn answer(&self, histories: &[Vec<u32>]) -> Tensor<2> {
        let all: Vec<f32> = histories.iter().flat_map(|h| (self.logits)(h, self.vocab)).collect();
        let shape = [histories.len(), self.vocab];
        Tensor::from_data(TensorData::new(all, shape), &Device::flex())
    }
}

/// Logits in (-2, 2) that depend on every token of the history and on its order.
pub(crate) fn scrambled(history: &[u32], vocab: usize) -> Vec<f32> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for &t in history {
        hash = (hash ^ u64::from(t)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
    (0..vocab).map(|t| 4.0 * Key { seed: hash, episode: 0 }.uniform(t) as f32 - 2.0).collect()
}

/// log softmax of the logits over T, in double precision.
pub(crate) fn log_softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|&l| f64::from(l) / temperature).collect();
    let sum: f64 = scaled.iter().map(|s| s.exp()).sum();
    scaled.iter().map(|s| s - sum.ln()).collect()
}

pub(crate) fn prompt(tokens: &[u32], episode: u64) -> Prompt {
    Prompt { tokens: tokens.to_vec(), row: None, key: Key { seed: 11, episode } }
}

impl Decoder for Fake {
    type Cache = Vec<Vec<u32>>;

    fn prefill(
        &self,
        _: Role,
        prompts: &[&[u32]],
        room: &[usize],
    ) -> Result<(Self::Cache, Tensor<2>), CoreError> {
        self.calls.borrow_mut().push(Call::Prefill {
            rows: prompts.len(),
            capacity: room.iter().copied().max().unwrap_or(0),
        });
        let cache: Self::Cache = prompts.iter().map(|p| p.to_vec()).collect();
        let logits = self.answer(&cache);
        Ok((cache, logits))
    }

    fn decode(
        &self,
        _: Role,
        cache: &mut Self::Cache,
        tokens: &[u32],
    ) -> Result<Tensor<2>, CoreError> {
        self.calls.borrow_mut().push(Call::Decode { rows: tokens.len() });
        assert_eq!(cache.len(), tokens.len(), "one token per cached row");
        cache.iter_mut().zip(tokens).for_each(|(row, &t)| row.push(t));
        Ok(self.answer(cache))
    }

    fn retain(&self, cache: &mut Self::Cache, rows: &[usize]) {
        self.calls.borrow_mut().push(Call::Retain { rows: rows.to_vec() });
        *cache = rows.iter().map(|&r| cache[r].clone()).collect();
    }
}
