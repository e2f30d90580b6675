//! The buffers of the linear softmax by pieces, counted. A program of its own without the test
//! harness, whose threads would allocate in between.

use burn::tensor::{Device, Int, Tensor};
use hydralign_kernels::{CountingAllocator, LogProb, TokenSlopes, Vocabulary};
use std::num::NonZeroUsize;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const N: usize = 256;
const HIDDEN: usize = 128;
const VOCAB: usize = 20_000;
const CHUNK: usize = 64;
/// Bytes of one `[chunk, vocab]`.
const PIECE: u64 = 4 * (CHUNK * VOCAB) as u64;
/// Bytes of the matrix and of its gradient.
const MATRIX: u64 = 4 * (HIDDEN * VOCAB) as u64;

/// The most bytes above those held before.
fn peak<T>(work: impl FnOnce() -> T) -> u64 {
    let before = CountingAllocator::live();
    CountingAllocator::reset_peak();
    drop(work());
    CountingAllocator::peak() - before
}

/// Forward, backward for the hidden states alone, backward for both.
fn peaks(softcap: Option<f64>, entropies: bool, tied: bool) -> [u64; 3] {
    let device = Device::flex();
    let weight = match tied {
        true => Vocabulary::Embedding(Tensor::ones([VOCAB, HIDDEN], &device)),
        false => Vocabulary::Head(Tensor::ones([HIDDEN, VOCAB], &device)),
    };
    let chunk = NonZeroUsize::new(CHUNK).expect("a constant above zero");
    let kernel = LogProb { vocabulary: weight, temperature: 0.9, softcap, chunk };
    let hidden = Tensor::<2>::ones([N, HIDDEN], &device);
    let targets = Tensor::<1, Int>::zeros([N], &device);
    let forward =
        || kernel.forward(hidden.clone(), targets.clone(), entropies).expect("sizes that fit");
    let found = forward();
    let ones = || Tensor::<1>::ones([N], &device);
    let slopes = TokenSlopes { logprobs: Some(ones()), entropies: entropies.then(ones) };
    let backward = |vocabulary| {
        let targets = targets.clone();
        kernel.backward(hidden.clone(), targets, &found, &slopes, vocabulary).expect("as above")
    };
    [peak(forward), peak(|| backward(false)), peak(|| backward(true))]
}

fn main() {
    if cfg!(miri) {
        return; // The matrix products are not for Miri.
    }
    // What the runtime and its worker threads set up once: each thread at its first product.
    let matrix = Tensor::<2>::ones([512, 512], &Device::flex());
    (0..50).for_each(|_| drop(matrix.clone().matmul(matrix.clone())));
    peaks(Some(2.0), true, true);
    for softcap in [None, Some(2.0)] {
        for (entropies, tied) in [(false, false), (false, true), (true, false), (true, true)] {
            let expected = [2 * PIECE, 2 * PIECE, 2 * PIECE + MATRIX];
            for (got, expected) in peaks(softcap, entropies, tied).into_iter().zip(expected) {
                // Beside them: `[n, hidden]`, statistics and panels of the matrix products.
                let beside = (got as f64 - expected as f64) / PIECE as f64;
                let case = format!("cap {softcap:?}, entropies {entropies}, tied {tied}");
                assert!((0.0..0.05).contains(&beside), "{case}: {got} bytes, not {expected}");
            }
        }
    }
}
