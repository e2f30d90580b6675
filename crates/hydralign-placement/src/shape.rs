use crate::lora::Target;
use serde::{Deserialize, Serialize};

/// Sizes of a decoder trunk of the Llama family, from which every count and byte follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Vocabulary size, V.
    pub vocab: usize,
    /// Hidden size, h.
    pub hidden: usize,
    /// Inner size of the feed-forward block.
    pub intermediate: usize,
    /// Number of blocks, L.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; fewer than `heads` in grouped-query attention.
    pub kv_heads: usize,
    /// Size of one head.
    pub head_dim: usize,
    /// Whether the LM head is the transposed embedding.
    pub tied: bool,
}

impl ModelShape {
    /// `[in, out]` of one projection.
    pub fn projection(&self, target: Target) -> [usize; 2] {
        let q = self.heads * self.head_dim;
        let kv = self.kv_heads * self.head_dim;
        match target {
            Target::Query => [self.hidden, q],
            Target::Key | Target::Value => [self.hidden, kv],
            Target::Output => [q, self.hidden],
            Target::Gate | Target::Up => [self.hidden, self.intermediate],
            Target::Down => [self.intermediate, self.hidden],
        }
    }

    /// Parameters of one block: seven projections and two norms.
    pub fn block_parameters(&self) -> u64 {
        let projections: u64 = Target::ALL
            .iter()
            .map(|&t| {
                let [i, o] = self.projection(t);
                i as u64 * o as u64
            })
            .sum();
        projections + 2 * self.hidden as u64
    }

    /// Parameters of an LM head of its own; none where it is the transposed embedding.
    pub fn lm_head_parameters(&self) -> u64 {
        if self.tied { 0 } else { self.vocab as u64 * self.hidden as u64 }
    }

    /// Parameters of the trunk with its LM head, without scalar heads.
    pub fn parameters(&self) -> u64 {
        let embedding = self.vocab as u64 * self.hidden as u64;
        let blocks = self.layers as u64 * self.block_parameters();
        embedding + self.lm_head_parameters() + blocks + self.hidden as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_2_7b_has_its_published_parameter_count() {
        // 6,738,415,616: the count that Hugging Face reports for meta-llama/Llama-2-7b-hf.
        let shape = ModelShape {
            vocab: 32_000,
            hidden: 4_096,
            intermediate: 11_008,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            tied: false,
        };
        assert_eq!(shape.parameters(), 6_738_415_616);
    }

    #[test]
    fn grouped_queries_shrink_key_and_value_only() {
        let shape = ModelShape {
            vocab: 10,
            hidden: 8,
            intermediate: 16,
            layers: 1,
            heads: 4,
            kv_heads: 2,
            head_dim: 2,
            tied: true,
        };
        assert_eq!(shape.projection(Target::Query), [8, 8]);
        assert_eq!(shape.projection(Target::Value), [8, 4]);
        assert_eq!(shape.projection(Target::Output), [8, 8]);
    }
}
