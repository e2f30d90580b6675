//! What the graph keeps: the tensors that a backward step reads again.
//!
//! The rules are those of burn-autodiff 0.22 without checkpointing: a product keeps each factor
//! whose partner is tracked (so a matrix product with a frozen weight does not keep its input),
//! `exp`, `sigmoid`, `sqrt` and `recip` keep their input, a quotient keeps both sides, and sums,
//! shapes, masks' fillers and scalar factors keep nothing.

use crate::MemoryError;
use crate::count::product;
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
pub(crate) struct Sizes {
    /// n
    pub(crate) tokens: u64,
    /// n·h
    pub(crate) hidden: u64,
    /// n·heads·head_dim
    pub(crate) queries: u64,
    /// n·kv_heads·head_dim
    pub(crate) keys: u64,
    /// n·intermediate
    pub(crate) inner: u64,
    /// rows·heads·tokens²
    pub(crate) scores: u64,
}

impl Sizes {
    pub(crate) fn new(shape: &ModelShape, rows: u64, tokens: u64) -> Result<Self, MemoryError> {
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
/// root-mean-square norm x̂. `trunk_trained` says whether the block's own weights are trained,
/// `adapter` which low-rank pairs are. What is tracked starts at the first trained weight; in
/// the first block of a run with adapters a little less is kept than this says. Blocks of other
/// families (learned positions, layer norms with biases, parallel residuals, ungated feed-forward)
/// are counted by the same table, with their own widths and projections: an estimate for them.
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

/// The tensors between the last block and the logits or values that the graph keeps. Only
/// positions that predict a response token reach the heads.
///
/// # Errors
/// [`MemoryError::Overflow`].
pub(crate) fn kept_by_head(
    shape: &ModelShape,
    rows: u64,
    tokens: u64,
    response: u64,
    trunk_trained: bool,
) -> Result<Vec<Kept>, MemoryError> {
    let s = Sizes::new(shape, rows, tokens)?;
    let heads = product(WHAT, &[rows, response, shape.hidden as u64])?;
    let table = [
        ("last block's output", s.hidden, true),
        ("last norm: statistics", product(WHAT, &[3, s.tokens])?, true),
        ("last norm: before its weight", s.hidden, trunk_trained),
        ("heads' input", heads, true),
    ];
    Ok(kept(&table))
}

fn kept(table: &[(&'static str, u64, bool)]) -> Vec<Kept> {
    let kept = table.iter().filter(|(.., kept)| *kept);
    kept.map(|&(name, elements, _)| Kept { name, elements }).collect()
}
