use super::Slot;
use hydralign_placement::Target;

/// The module names of a family. Empty where the family has no such part.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// What the base model's names begin with inside a model with a head; files of the base
    /// model alone leave it out.
    pub prefix: &'static str,
    /// Tokens to vectors.
    pub embedding: &'static str,
    /// Table of learned positions.
    pub positions: &'static str,
    /// From a narrower embedding to the blocks.
    pub project_in: &'static str,
    /// From the blocks to a narrower embedding.
    pub project_out: &'static str,
    /// Norm after the last block.
    pub final_norm: &'static str,
    /// The list of blocks.
    pub blocks: &'static str,
    /// Norm of a block's attention.
    pub attention_norm: &'static str,
    /// Norm of a block's feed-forward half.
    pub mlp_norm: &'static str,
    /// Norm of what attention adds.
    pub attention_out_norm: &'static str,
    /// Norm of what the feed-forward half adds.
    pub mlp_out_norm: &'static str,
    /// Norm of each head's queries.
    pub query_norm: &'static str,
    /// Norm of each head's keys.
    pub key_norm: &'static str,
    /// In the order of [`Target::ALL`].
    pub projections: [&'static str; Target::ALL.len()],
    /// Outside the base model, as the scalar head is.
    pub lm_head: &'static str,
}

/// Linear maps to labels have this name in every family.
const SCALAR_HEAD: &str = "score";

impl Names {
    /// Llama's, which many families share.
    pub const LLAMA: Names = Names {
        prefix: "model.",
        embedding: "embed_tokens",
        positions: "",
        project_in: "",
        project_out: "",
        final_norm: "norm",
        blocks: "layers",
        attention_norm: "input_layernorm",
        mlp_norm: "post_attention_layernorm",
        attention_out_norm: "",
        mlp_out_norm: "",
        query_norm: "",
        key_norm: "",
        projections: [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "",
        ],
        lm_head: "lm_head",
    };

    /// The module that holds a slot, such as `model.layers.0.self_attn.q_proj`.
    pub fn module(&self, slot: Slot) -> String {
        let block = |i: usize, part: &str| format!("{}{}.{i}.{part}", self.prefix, self.blocks);
        let outer = |part: &str| format!("{}{part}", self.prefix);
        match slot {
            Slot::Embedding => outer(self.embedding),
            Slot::Positions => outer(self.positions),
            Slot::ProjectIn => outer(self.project_in),
            Slot::ProjectOut => outer(self.project_out),
            Slot::FinalNorm => outer(self.final_norm),
            Slot::LmHead => self.lm_head.to_owned(),
            Slot::ScalarHead => SCALAR_HEAD.to_owned(),
            Slot::AttentionNorm(i) => block(i, self.attention_norm),
            Slot::MlpNorm(i) => block(i, self.mlp_norm),
            Slot::AttentionOutNorm(i) => block(i, self.attention_out_norm),
            Slot::MlpOutNorm(i) => block(i, self.mlp_out_norm),
            Slot::QueryNorm(i) => block(i, self.query_norm),
            Slot::KeyNorm(i) => block(i, self.key_norm),
            Slot::Projection(i, target) => block(i, self.projections[target as usize]),
        }
    }
}
