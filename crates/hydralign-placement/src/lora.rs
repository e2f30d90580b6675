use crate::PlacementError;
use crate::shape::ModelShape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A projection that an adapter can sit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Attention queries (`q_proj`).
    Query,
    /// Attention keys (`k_proj`).
    Key,
    /// Attention values (`v_proj`).
    Value,
    /// Attention output (`o_proj`).
    Output,
    /// Gate of the feed-forward block (`gate_proj`).
    Gate,
    /// Up projection of the feed-forward block (`up_proj`).
    Up,
    /// Down projection of the feed-forward block (`down_proj`; `fc2` of OPT, `dense_4h_to_h` of
    /// GPT-NeoX, `mlp.c_proj` of GPT-2).
    Down,
    /// Queries, keys and values in one (`query_key_value` of GPT-NeoX, `c_attn` of GPT-2).
    QueryKeyValue,
}

impl Target {
    /// Every projection that some family has. Those of one model are [`ModelShape::targets`].
    pub const ALL: [Target; 8] = [
        Target::Query,
        Target::Key,
        Target::Value,
        Target::Output,
        Target::Gate,
        Target::Up,
        Target::Down,
        Target::QueryKeyValue,
    ];
}

/// Rank, scale and targets of one low-rank adapter (Hu et al. 2021, §4.1).
///
/// y = xW + s·(xA)B with A `[in, r]`, B `[r, out]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraShape {
    /// Rank r.
    pub rank: usize,
    /// α; the scale is s = α/r, or α/√r when rank-stabilised.
    pub alpha: f64,
    /// Projections that carry the adapter in every block. Those that a model does not have
    /// are passed over, as PEFT does: the default means every projection of any family.
    pub targets: BTreeSet<Target>,
    /// Rank-stabilised scale (Kalajdzievski 2023).
    pub rank_stabilized: bool,
}

impl Default for LoraShape {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: Target::ALL.into(), rank_stabilized: false }
    }
}

impl LoraShape {
    /// Checks the shape: a rank of at least 1, a finite α other than 0, some targets.
    ///
    /// # Errors
    /// [`PlacementError::Lora`] naming the setting.
    pub fn validate(&self) -> Result<(), PlacementError> {
        let settings = [
            ("rank", self.rank > 0),
            ("alpha", self.alpha.is_finite() && self.alpha != 0.0),
            ("targets", !self.targets.is_empty()),
        ];
        match settings.into_iter().find(|(_, fine)| !fine) {
            Some((setting, _)) => Err(PlacementError::Lora { setting }),
            None => Ok(()),
        }
    }

    /// The scale s of the low-rank path.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// The projections of a model that carry the adapter, in forward order.
    pub fn targets_in(&self, shape: &ModelShape) -> impl Iterator<Item = Target> {
        shape.targets().iter().copied().filter(|t| self.targets.contains(t))
    }

    /// Parameters of one adapter: Σ over targets of r·(in + out), times the blocks.
    pub fn parameters(&self, shape: &ModelShape) -> u64 {
        let per_block: u64 = self
            .targets_in(shape)
            .map(|t| {
                let [i, o] = shape.projection(t);
                self.rank as u64 * (i + o) as u64
            })
            .sum();
        per_block * shape.layers as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parts;

    fn llama_2_7b() -> ModelShape {
        ModelShape {
            vocab: 32_000,
            hidden: 4_096,
            intermediate: 11_008,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            tied: false,
            parts: Parts::default(),
        }
    }

    #[test]
    fn counts_match_the_adapters_that_peft_reports_for_llama_2_7b() {
        // r 8 on q,v: 4,194,304; r 8 on all seven: 19,988,480 (peft's print_trainable_parameters).
        let mut lora =
            LoraShape { targets: [Target::Query, Target::Value].into(), ..LoraShape::default() };
        assert_eq!(lora.parameters(&llama_2_7b()), 4_194_304);
        lora.targets = Target::ALL.into();
        assert_eq!(lora.parameters(&llama_2_7b()), 19_988_480);
    }

    #[test]
    fn rank_stabilised_scale_divides_by_the_root() {
        let mut lora = LoraShape { rank: 16, alpha: 32.0, ..LoraShape::default() };
        assert_eq!(lora.scale(), 2.0);
        lora.rank_stabilized = true;
        assert_eq!(lora.scale(), 8.0);
    }
}
