//! Checked counts. Shapes come from files, so any value may turn up in them.

use crate::MemoryError;
use hydralign_placement::{LoraShape, ModelShape, Target};

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
    /// One LM head: V·h, or nothing where it is the transposed embedding.
    pub(crate) lm_head: u64,
    /// One adapter.
    pub(crate) adapter: u64,
    /// One scalar head `[h → 1]`.
    pub(crate) head: u64,
}

impl Counts {
    /// The counts of [`ModelShape::parameters`] and [`LoraShape::parameters`], checked.
    pub(crate) fn new(shape: &ModelShape, lora: &LoraShape) -> Result<Self, MemoryError> {
        let hidden = shape.hidden as u64;
        let layers = shape.layers as u64;
        let projections = projections(shape)?;

        let what = "a trunk";
        let mut block = vec![hidden, hidden];
        for &[i, o] in projections.values() {
            block.push(product(what, &[i, o])?);
        }
        let blocks = product(what, &[layers, sum(what, &block)?])?;
        let embedding = product(what, &[shape.vocab as u64, hidden])?;
        let lm_head = if shape.tied { 0 } else { embedding };
        let trunk = sum(what, &[embedding, lm_head, blocks, hidden])?;

        let what = "an adapter";
        let widths: Vec<u64> = lora.targets.iter().flat_map(|t| projections[t]).collect();
        let adapter = product(what, &[layers, lora.rank as u64, sum(what, &widths)?])?;
        Ok(Self { trunk, lm_head, adapter, head: hidden })
    }
}

type Projections = std::collections::BTreeMap<Target, [u64; 2]>;

/// `[in, out]` of every projection, whose widths are known not to overflow.
fn projections(shape: &ModelShape) -> Result<Projections, MemoryError> {
    // `ModelShape::projection` multiplies these two pairs without a check.
    for heads in [shape.heads, shape.kv_heads] {
        heads.checked_mul(shape.head_dim).ok_or(MemoryError::Overflow { what: "a head" })?;
    }
    Ok(Target::ALL.map(|t| (t, shape.projection(t).map(|n| n as u64))).into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
