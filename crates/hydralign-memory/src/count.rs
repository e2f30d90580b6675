//! Checked counts. Shapes come from files, so any value may turn up in them.

use crate::MemoryError;
use hydralign_placement::{LoraShape, ModelShape, WeightDims};

/// Π factors.
pub(crate) fn product(what: &'static str, factors: &[u64]) -> Result<u64, MemoryError> {
    if factors.contains(&0) {
        return Ok(0);
    }
    factors
        .iter()
        .try_fold(1_u64, |product, &f| product.checked_mul(f))
        .ok_or(MemoryError::Overflow { what })
}

/// Σ terms.
pub(crate) fn sum(what: &'static str, terms: &[u64]) -> Result<u64, MemoryError> {
    terms.iter().try_fold(0_u64, |sum, &t| sum.checked_add(t)).ok_or(MemoryError::Overflow { what })
}

/// Parameters of each part that a placement multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// One trunk with its LM head.
    pub(crate) trunk: u64,
    /// The matrices of a trunk that may be held in another number format than is computed in: the
    /// projections, and the embedding where it is not the head as well.
    pub(crate) matrices: u64,
    /// One LM head: V·width, or nothing where it is the transposed embedding.
    pub(crate) lm_head: u64,
    /// One adapter.
    pub(crate) adapter: u64,
    /// One scalar head `[width → 1]`.
    pub(crate) head: u64,
}

impl Counts {
    /// The counts of [`ModelShape::parameters`] and [`LoraShape::parameters`], checked.
    pub(crate) fn new(shape: &ModelShape, lora: &LoraShape) -> Result<Self, MemoryError> {
        let layers = shape.layers as u64;
        check_heads(shape)?;
        let what = "a trunk";
        let block = weights(what, &shape.block_weights())?;
        let blocks = product(what, &[layers, block])?;
        let lm_head = match shape.tied {
            true => 0,
            false => product(what, &[shape.vocab as u64, shape.width() as u64])?,
        };
        let outer = weights(what, &shape.outer_weights())?;
        let projections = shape.targets().iter().map(|&t| shape.projection(t)).collect::<Vec<_>>();
        let projections = product(what, &[layers, weights(what, &projections)?])?;
        let embedding = match shape.tied {
            true => 0,
            false => product(what, &[shape.vocab as u64, shape.width() as u64])?,
        };
        let matrices = sum(what, &[projections, embedding])?;
        let trunk = sum(what, &[outer, lm_head, blocks])?;

        let what = "an adapter";
        let widths = lora.targets_in(shape).flat_map(|t| shape.projection(t));
        let widths: Vec<u64> = widths.map(|n| n as u64).collect();
        let adapter = product(what, &[layers, lora.rank as u64, sum(what, &widths)?])?;
        Ok(Self { trunk, matrices, lm_head, adapter, head: shape.width() as u64 })
    }
}

/// Σ rows·columns.
fn weights(what: &'static str, dims: &[WeightDims]) -> Result<u64, MemoryError> {
    let terms = dims.iter().map(|&[rows, columns]| product(what, &[rows as u64, columns as u64]));
    sum(what, &terms.collect::<Result<Vec<_>, _>>()?)
}

/// `ModelShape::projection` multiplies and adds these without a check.
pub(crate) fn check_heads(shape: &ModelShape) -> Result<(), MemoryError> {
    let what = "a head";
    let [heads, kv_heads, d] = [shape.heads, shape.kv_heads, shape.head_dim].map(|n| n as u64);
    let queries = product(what, &[heads, d])?;
    sum(what, &[queries, product(what, &[2, kv_heads, d])?]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hydralign_placement::{Parts, Target};

    #[test]
    fn counts_agree_with_the_unchecked_ones() {
        for (tied, kv_heads) in [(true, 1), (false, 2), (false, 4)] {
            let shape = ModelShape {
                vocab: 101,
                hidden: 24,
                intermediate: 67,
                layers: 3,
                heads: 4,
                kv_heads,
                head_dim: 5,
                tied,
                parts: Parts::default(),
            };
            for targets in [&Target::ALL[..], &Target::ALL[1..4], &[]] {
                let targets = targets.iter().copied().collect();
                let lora = LoraShape { rank: 7, targets, ..LoraShape::default() };
                let counts = Counts::new(&shape, &lora).unwrap();
                assert_eq!(counts.trunk, shape.parameters());
                assert_eq!(counts.lm_head, shape.lm_head_parameters());
                assert_eq!(counts.adapter, lora.parameters(&shape));
                assert_eq!(counts.head, 24);
            }
        }
    }

    #[test]
    fn zero_times_too_much_is_zero() {
        assert_eq!(product("x", &[u64::MAX, u64::MAX, 0]), Ok(0));
        assert!(matches!(product("x", &[u64::MAX, 2]), Err(MemoryError::Overflow { what: "x" })));
        assert!(matches!(sum("y", &[u64::MAX, 1]), Err(MemoryError::Overflow { what: "y" })));
    }
}
