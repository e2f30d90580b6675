//! Floating-point operations of trunk passes: what a budget of compute is counted in.
//!
//! Counted are the products of matrices, a multiplication and an addition each; norms, activations,
//! softmax and optimizer are left out, as in Kaplan et al. 2020 and Hoffmann et al. 2022, app. F.

use crate::MemoryError;
use crate::count::{check_heads, product, sum};
use hydralign_placement::{ModelShape, WeightDims};

const WHAT: &str = "the operations of a pass";

/// What a sequence costs to read: `tokens` of them, and logits of the last `predicted` ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassTokens {
    /// Tokens of the sequence.
    pub tokens: u64,
    /// Tokens whose predictions are read.
    pub predicted: u64,
}

/// Operations of reading one sequence without a gradient.
///
/// 2·n·P + 4·L·n²·heads·head_dim + 2·m·V·h
///
/// n tokens, m predicted ones, P the numbers in the projections of all L blocks, V·h those of the LM
/// head. Attention is counted over the whole square, which is what is computed.
///
/// # Errors
/// [`MemoryError::Overflow`].
pub fn forward_flops(shape: &ModelShape, pass: PassTokens) -> Result<u64, MemoryError> {
    let PassTokens { tokens, predicted } = pass;
    let layers = shape.layers as u64;
    let width = product(WHAT, &[shape.heads as u64, shape.head_dim as u64])?;
    sum(
        WHAT,
        &[
            product(WHAT, &[2, tokens, layers, projections(shape)?])?,
            product(WHAT, &[4, layers, tokens, tokens, width])?,
            product(WHAT, &[2, predicted, head(shape)?])?,
        ],
    )
}

/// Operations of learning from one sequence.
///
/// 3 × [`forward_flops`] where the trunk is trained: the gradients of inputs and of weights cost a
/// forward pass each. 2 × with a frozen trunk and adapters, whose own products are left out.
///
/// # Errors
/// [`MemoryError::Overflow`].
pub fn train_flops(
    shape: &ModelShape,
    pass: PassTokens,
    trunk_trained: bool,
) -> Result<u64, MemoryError> {
    let passes = if trunk_trained { 3 } else { 2 };
    product(WHAT, &[passes, forward_flops(shape, pass)?])
}

/// Operations of sampling one response with a cache: the prompt is read, then each token but the last
/// is fed.
///
/// Attention of a fed token is over all tokens before it and itself.
///
/// # Errors
/// [`MemoryError::Overflow`].
pub fn generate_flops(shape: &ModelShape, prompt: u64, response: u64) -> Result<u64, MemoryError> {
    let first = forward_flops(shape, PassTokens { tokens: prompt, predicted: 1 })?;
    let fed = response.saturating_sub(1);
    let width = product(WHAT, &[shape.heads as u64, shape.head_dim as u64])?;
    let layers = shape.layers as u64;
    // Σ_{k=1..fed} (prompt + k)
    let context =
        sum(WHAT, &[product(WHAT, &[fed, prompt])?, product(WHAT, &[fed, fed + 1])? / 2])?;
    sum(
        WHAT,
        &[
            first,
            product(WHAT, &[2, fed, layers, projections(shape)?])?,
            product(WHAT, &[4, layers, context, width])?,
            product(WHAT, &[2, fed, head(shape)?])?,
        ],
    )
}

/// Numbers in the projections of one block.
fn projections(shape: &ModelShape) -> Result<u64, MemoryError> {
    check_heads(shape)?;
    let dims = shape.targets().iter().map(|&t| shape.projection(t));
    let numbers =
        dims.map(|[rows, columns]: WeightDims| product(WHAT, &[rows as u64, columns as u64]));
    sum(WHAT, &numbers.collect::<Result<Vec<_>, _>>()?)
}

/// Numbers in the LM head, tied or not.
fn head(shape: &ModelShape) -> Result<u64, MemoryError> {
    product(WHAT, &[shape.vocab as u64, shape.width() as u64])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hydralign_placement::Parts;

    fn llama_2_7b() -> ModelShape {
        ModelShape {
            vocab: 32_000,
            hidden: 4096,
            intermediate: 11_008,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            tied: false,
            parts: Parts::default(),
        }
    }

    /// 2N of Kaplan et al.: two operations per parameter that is multiplied with, and the published
    /// 6.74 billion less the embedding (131 million) are.
    #[test]
    fn a_short_pass_costs_two_operations_per_parameter_and_token() {
        let pass = PassTokens { tokens: 1, predicted: 1 };
        let flops = forward_flops(&llama_2_7b(), pass).unwrap() as f64;
        let want = 2.0 * (6.738_415_616e9 - 0.131_072e9);
        assert!((flops / want - 1.0).abs() < 1e-3, "{flops} against {want}");
        assert_eq!(train_flops(&llama_2_7b(), pass, true).unwrap(), 3 * flops as u64);
    }

    /// Megatron (Narayanan et al. 2021, eq. 2, without recomputation: 72·s·l·h²·(1 + s/(6h) + V/(12·l·h)))
    /// for a model of four h by h projections and two h by 4h ones, forward and backward.
    #[test]
    fn a_long_pass_agrees_with_the_published_formula() {
        let (h, s, l, v) = (2048u64, 4096u64, 24u64, 51_200u64);
        let shape = ModelShape {
            vocab: v as usize,
            hidden: h as usize,
            intermediate: 4 * h as usize,
            layers: l as usize,
            heads: 16,
            kv_heads: 16,
            head_dim: 128,
            tied: true,
            parts: Parts { gated: false, ..Parts::default() },
        };
        let found =
            train_flops(&shape, PassTokens { tokens: s, predicted: s }, true).unwrap() as f64;
        let [hf, sf, lf, vf] = [h, s, l, v].map(|x| x as f64);
        let want = 72.0 * sf * lf * hf * hf * (1.0 + sf / (6.0 * hf) + vf / (12.0 * lf * hf));
        assert!((found / want - 1.0).abs() < 1e-9, "{found} against {want}");
    }

    /// With a cache each token is read once; the same tokens read at once cost more attention, for the
    /// whole square is computed.
    #[test]
    fn sampling_costs_what_reading_token_by_token_costs() {
        let shape = llama_2_7b();
        let one = generate_flops(&shape, 100, 1).unwrap();
        assert_eq!(one, forward_flops(&shape, PassTokens { tokens: 100, predicted: 1 }).unwrap());
        let two = generate_flops(&shape, 100, 2).unwrap();
        let attention = 4 * 32 * 101 * 4096;
        let bare = forward_flops(&shape, PassTokens { tokens: 1, predicted: 1 }).unwrap();
        assert_eq!(two - one, bare - 4 * 32 * 4096 + attention);
    }

    #[test]
    fn absurd_shapes_overflow_into_an_error() {
        let shape = ModelShape { hidden: usize::MAX / 8, ..llama_2_7b() };
        let pass = PassTokens { tokens: u64::MAX / 2, predicted: 1 };
        assert!(matches!(forward_flops(&shape, pass), Err(MemoryError::Overflow { .. })));
    }
}
