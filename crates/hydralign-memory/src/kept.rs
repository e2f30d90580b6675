//! What the graph keeps: the tensors that a backward step reads again.
//!
//! The rules are those of burn-autodiff 0.22 without checkpointing: a product keeps each factor
//! whose partner is tracked (so a matrix product with a frozen weight does not keep its input),
//! `exp`, `sigmoid`, `sqrt` and `recip` keep their input, a quotient keeps both sides, and sums,
//! shapes, masks' fillers and scalar factors keep nothing.

use crate::count::product;
use crate::{MemoryError, Reading};
use hydralign_placement::{LoraShape, ModelShape, Target};

const WHAT: &str = "the activations";

/// A tensor that a graph keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it holds.
    pub name: &'static str,
    /// Numbers in it.
    pub elements: u64,
}

/// Numbers in the tensors of a pass over `rows` sequences of `tokens`, n = rows·tokens.
struct Sizes {
    /// n
    tokens: u64,
    /// n·h
    hidden: u64,
    /// n·heads·head_dim
    queries: u64,
    /// n·kv_heads·head_dim
    keys: u64,
    /// n·intermediate
    inner: u64,
    /// rows·heads·tokens²
    scores: u64,
}

impl Sizes {
    fn new(shape: &ModelShape, rows: u64, tokens: u64) -> Result<Self, MemoryError> {
        let n = product(WHAT, &[rows, tokens])?;
        let times = |factors: &[usize]| {
            let factors: Vec<u64> = factors.iter().map(|&f| f as u64).collect();
            product(WHAT, &[n, product(WHAT, &factors)?])
        };
        Ok(Self {
            tokens: n,
            hidden: times(&[shape.hidden])?,
            queries: times(&[shape.heads, shape.head_dim])?,
            keys: times(&[shape.kv_heads, shape.head_dim])?,
            inner: times(&[shape.intermediate])?,
            scores: product(WHAT, &[n, tokens, shape.heads as u64])?,
        })
    }
}

/// The tensors that the graph of one block keeps for `rows` sequences of `tokens`.
///
/// The block is that of the Llama family with materialised scores:
/// x ← x + W_o·softmax(q·kᵀ/√d)·v, x ← x + W_down·(silu(W_gate·x̂)·W_up·x̂), each on the
/// root-mean-square norm x̂. Either its own weights are trained or those of an `adapter`; with neither
/// there is no graph. With n = rows·tokens, a query and k key-value heads of size d and f the inner
/// size, a block that is trained in full keeps
///
/// n·(6h + 2ad + 2kd + 5f + a + 6) + 3·n·tokens·a
///
/// numbers; one with adapters of rank r on all seven projections 2·n·h less and 7·n·r more. What is
/// tracked starts at the first trained weight: the first block of a run with adapters keeps less, with
/// all seven its input and the statistics of its first norm. Blocks of other families (learned
/// positions, layer norms with biases, parallel residuals, ungated feed-forward) differ; predictions
/// do not use this table but run the models.
///
/// # Errors
/// [`MemoryError::Overflow`].
pub fn kept_by_block(
    shape: &ModelShape,
    rows: u64,
    tokens: u64,
    trunk_trained: bool,
    adapter: Option<&LoraShape>,
) -> Result<Vec<Kept>, MemoryError> {
    use Target::{Down, Gate, Key, Output, Query, QueryKeyValue, Up, Value};
    if !trunk_trained && adapter.is_none_or(|lora| lora.targets_in(shape).next().is_none()) {
        return Ok(Vec::new());
    }
    let s = Sizes::new(shape, rows, tokens)?;
    let norm_statistics = product(WHAT, &[3, s.tokens])?;
    let softmax_sum = product(WHAT, &[s.tokens, shape.heads as u64])?;
    let low_rank = match adapter {
        Some(lora) => {
            product(WHAT, &[s.tokens, lora.targets_in(shape).count() as u64, lora.rank as u64])?
        }
        None => 0,
    };
    // The input of projections is read again where one of their weights is trained.
    let reads = |projections: &[Target]| {
        trunk_trained
            || adapter.is_some_and(|lora| lora.targets_in(shape).any(|t| projections.contains(&t)))
    };
    let table = [
        ("block input", s.hidden, true),
        ("attention norm: statistics", norm_statistics, true),
        ("attention norm: before its weight", s.hidden, trunk_trained),
        ("attention input", s.hidden, reads(&[Query, Key, Value, QueryKeyValue])),
        ("queries", s.queries, true),
        ("keys", s.keys, true),
        ("values", s.keys, true),
        ("shifted scores", s.scores, true),
        ("exponentials", s.scores, true),
        ("softmax sums", softmax_sum, true),
        ("probabilities", s.scores, true),
        ("attention output", s.queries, reads(&[Output])),
        ("block middle", s.hidden, true),
        ("feed-forward norm: statistics", norm_statistics, true),
        ("feed-forward norm: before its weight", s.hidden, trunk_trained),
        ("feed-forward input", s.hidden, reads(&[Gate, Up])),
        ("gate", s.inner, true),
        ("sigmoid of the gate", s.inner, true),
        ("silu of the gate", s.inner, true),
        ("up", s.inner, true),
        ("input of the down projection", s.inner, reads(&[Down])),
        ("low-rank paths", low_rank, low_rank > 0),
    ];
    Ok(kept(&table))
}

/// The tensors that the graph keeps between the last block and the `readings` of `response` tokens a
/// row: the norm, the states that heads read and, per reading, what is over the vocabulary.
///
/// With n = rows·tokens and m = rows·response, a trunk that is trained in full and read for
/// log-probabilities keeps n·(2h + 3) + m·(h + V + 1) numbers. An entropy adds 2·m·V. Only positions
/// that predict a response token reach the heads. Scalar heads are trained where they are read.
///
/// # Errors
/// [`MemoryError::Overflow`].
pub fn kept_by_head(
    shape: &ModelShape,
    rows: u64,
    tokens: u64,
    response: u64,
    trunk_trained: bool,
    readings: &[Reading],
) -> Result<Vec<Kept>, MemoryError> {
    let s = Sizes::new(shape, rows, tokens)?;
    let m = product(WHAT, &[rows, response])?;
    let logits = product(WHAT, &[m, shape.vocab as u64])?;
    let states = |count| product(WHAT, &[count, shape.hidden as u64]);
    let reads = |f: fn(&Reading) -> bool| readings.iter().any(f);
    let predicts = reads(|r| r.needs_logits());
    let entropy = reads(|r| matches!(r, Reading::Entropy(_)));
    let packed = predicts && trunk_trained || reads(|r| matches!(r, Reading::Values(_)));
    let score = reads(|r| matches!(r, Reading::Score(_)));
    let table = [
        ("last block's output", s.hidden, true),
        ("last norm: statistics", product(WHAT, &[3, s.tokens])?, true),
        ("last norm: before its weight", s.hidden, trunk_trained),
        ("states that predict", states(m)?, packed),
        ("last states of the rows", states(rows)?, score),
        ("shifted logits", logits, predicts),
        ("sums of exponentials", m, predicts),
        ("log-probabilities", logits, entropy),
        ("probabilities of the entropy", logits, entropy),
    ];
    Ok(kept(&table))
}

fn kept(table: &[(&'static str, u64, bool)]) -> Vec<Kept> {
    let kept = table.iter().filter(|(.., kept)| *kept);
    kept.map(|&(name, elements, _)| Kept { name, elements }).collect()
}
