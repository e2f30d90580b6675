use crate::lora::Target;
use crate::parts::Parts;
use serde::{Deserialize, Serialize};

/// Sizes of a decoder trunk, from which every count and byte follows.
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
    /// What the blocks are made of; those of Llama unless said otherwise.
    #[serde(default)]
    pub parts: Parts,
}

/// `[rows, columns]` of a weight; a vector has one column.
pub type WeightDims = [usize; 2];

impl ModelShape {
    /// The projections of a block, in forward order.
    pub fn targets(&self) -> &'static [Target] {
        use Target::{Down, Gate, Key, Output, Query, QueryKeyValue, Up, Value};
        match (self.parts.fused_qkv, self.parts.gated) {
            (false, true) => &[Query, Key, Value, Output, Gate, Up, Down],
            (false, false) => &[Query, Key, Value, Output, Up, Down],
            (true, true) => &[QueryKeyValue, Output, Gate, Up, Down],
            (true, false) => &[QueryKeyValue, Output, Up, Down],
        }
    }

    /// `[in, out]` of one projection.
    pub fn projection(&self, target: Target) -> WeightDims {
        let q = self.heads * self.head_dim;
        let kv = self.kv_heads * self.head_dim;
        match target {
            Target::Query => [self.hidden, q],
            Target::Key | Target::Value => [self.hidden, kv],
            Target::QueryKeyValue => [self.hidden, q + 2 * kv],
            Target::Output => [q, self.hidden],
            Target::Gate | Target::Up => [self.hidden, self.intermediate],
            Target::Down => [self.intermediate, self.hidden],
        }
    }

    /// Width of the embedding and of the states that the heads read: h, unless the model
    /// projects between the two (OPT-350m).
    pub fn width(&self) -> usize {
        self.parts.embedding.unwrap_or(self.hidden)
    }

    /// Every weight of one block.
    pub fn block_weights(&self) -> Vec<WeightDims> {
        let parts = &self.parts;
        let projections = self.targets().iter().flat_map(|&t| {
            let dims = self.projection(t);
            let bias = parts.has_bias(t).then_some([dims[1], 1]);
            [Some(dims), bias].into_iter().flatten()
        });
        let norm = |size: usize| std::iter::repeat_n([size, 1], 1 + usize::from(parts.norm_bias));
        let norms = if parts.sandwich { 4 } else { 2 };
        let head_norms = if parts.qk_norm { 2 } else { 0 };
        projections
            .chain((0..norms).flat_map(|_| norm(self.hidden)))
            .chain((0..head_norms).map(|_| [self.head_dim, 1]))
            .collect()
    }

    /// Every weight outside the blocks, without the LM head and scalar heads.
    pub fn outer_weights(&self) -> Vec<WeightDims> {
        let parts = &self.parts;
        let mut weights = vec![[self.vocab, self.width()]];
        weights.extend(parts.positions.map(|rows| [rows, self.hidden]));
        if parts.embedding.is_some() {
            weights.extend([[self.width(), self.hidden], [self.hidden, self.width()]]);
        }
        if parts.final_norm {
            weights.push([self.hidden, 1]);
            weights.extend(parts.norm_bias.then_some([self.hidden, 1]));
        }
        weights
    }

    /// Parameters of one block.
    pub fn block_parameters(&self) -> u64 {
        count(&self.block_weights())
    }

    /// Parameters of an LM head of its own; none where it is the transposed embedding.
    pub fn lm_head_parameters(&self) -> u64 {
        if self.tied { 0 } else { self.vocab as u64 * self.width() as u64 }
    }

    /// Parameters of the trunk with its LM head, without scalar heads.
    pub fn parameters(&self) -> u64 {
        let blocks = self.layers as u64 * self.block_parameters();
        count(&self.outer_weights()) + self.lm_head_parameters() + blocks
    }
}

fn count(weights: &[WeightDims]) -> u64 {
    weights.iter().map(|&[rows, columns]| rows as u64 * columns as u64).sum()
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
            parts: Parts::default(),
        };
        assert_eq!(shape.parameters(), 6_738_415_616);
    }

    /// Sizes of a published model: vocabulary, hidden, inner, layers, heads, key-value heads,
    /// head size.
    fn shape(sizes: [usize; 7], tied: bool, parts: Parts) -> ModelShape {
        let [vocab, hidden, intermediate, layers, heads, kv_heads, head_dim] = sizes;
        ModelShape { vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, tied, parts }
    }

    #[test]
    fn other_families_have_their_published_parameter_counts() {
        // The counts that Hugging Face reports for the checkpoints named.
        let layer_normed = Parts {
            gated: false,
            qkv_bias: true,
            output_bias: true,
            mlp_bias: true,
            norm_bias: true,
            ..Parts::default()
        };
        let gpt2 = Parts { fused_qkv: true, positions: Some(1024), ..layer_normed.clone() };
        let opt = Parts { positions: Some(2050), ..layer_normed.clone() };
        let opt_350m = Parts { final_norm: false, embedding: Some(512), ..opt.clone() };
        let neox = Parts { fused_qkv: true, ..layer_normed };
        let qwen2 = Parts { qkv_bias: true, ..Parts::default() };
        let qwen3 = Parts { qk_norm: true, ..Parts::default() };
        let gemma2 = Parts { sandwich: true, ..Parts::default() };
        let gemma3 = Parts { qk_norm: true, ..gemma2.clone() };
        for (name, sizes, tied, parts, count) in [
            ("gpt2", [50257, 768, 3072, 12, 12, 12, 64], true, gpt2, 124_439_808),
            ("opt-125m", [50272, 768, 3072, 12, 12, 12, 64], true, opt.clone(), 125_239_296),
            ("opt-1.3b", [50272, 2048, 8192, 24, 32, 32, 64], true, opt, 1_315_758_080),
            ("opt-350m", [50272, 1024, 4096, 24, 16, 16, 64], true, opt_350m, 331_196_416),
            ("pythia-1b", [50304, 2048, 8192, 16, 8, 8, 256], false, neox, 1_011_781_632),
            (
                "Mistral-7B-v0.1",
                [32000, 4096, 14336, 32, 32, 8, 128],
                false,
                Parts::default(),
                7_241_732_096,
            ),
            ("Qwen2.5-0.5B", [151_936, 896, 4864, 24, 14, 2, 64], true, qwen2, 494_032_768),
            ("Qwen3-0.6B", [151_936, 1024, 3072, 28, 16, 8, 128], true, qwen3, 596_049_920),
            ("gemma-2-2b", [256_000, 2304, 9216, 26, 8, 4, 256], true, gemma2, 2_614_341_888),
            ("gemma-3-1b", [262_144, 1152, 6912, 26, 4, 1, 256], true, gemma3, 999_885_952),
        ] {
            assert_eq!(shape(sizes, tied, parts).parameters(), count, "{name}");
        }
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
            parts: Parts::default(),
        };
        assert_eq!(shape.projection(Target::Query), [8, 8]);
        assert_eq!(shape.projection(Target::Value), [8, 4]);
        assert_eq!(shape.projection(Target::Output), [8, 8]);
    }
}
