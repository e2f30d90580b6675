use crate::block::Block;
use crate::files::{Named, SaveOptions, Staging, StoredDtype, write_tensors};
use crate::linear::Linear;
use crate::norm::Norm;
use crate::{Architecture, ModelError, ScalarHead, Trunk};
use burn::module::Param;
use burn::tensor::Tensor;
use hydralign_families::{Family, Order, Slot, Storage};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Saves a trunk, and a reward head if given, as a Hugging Face folder: `config.json`,
/// `generation_config.json` where the configuration names special tokens, and
/// `model.safetensors` or shards with an index.
///
/// The folder is written beside its place and put there when it is complete. With a reward head
/// its `config.json` says that there is one label.
///
/// # Errors
/// [`ModelError::Io`] naming the file; a number that the asked type cannot hold.
pub fn save_checkpoint(
    dir: &Path,
    trunk: &Trunk,
    reward_head: Option<&ScalarHead>,
    options: &SaveOptions,
) -> Result<(), ModelError> {
    let config = &trunk.architecture.config;
    let family = trunk.architecture.family(&dir.join("config.json"))?;
    let dtype = options.dtype.unwrap_or(trunk.dtype);
    let mut saver = Saver { family, architecture: &trunk.architecture, dtype, tensors: Vec::new() };
    saver.trunk(trunk);
    if let Some(head) = reward_head {
        saver.transposed(Slot::ScalarHead, &head.weight, Order::Same);
    }
    let staging = Staging::new(dir)?;
    write_tensors(staging.dir(), "model", &saver.tensors, options.shard_bytes)?;
    if let Some(generation) = generation_config(config)
        && !dir.join("generation_config.json").exists()
    {
        staging.write("generation_config.json", format!("{generation:#}\n").as_bytes())?;
    }
    let config = final_config(config, reward_head.is_some(), dtype);
    staging.write("config.json", format!("{config:#}\n").as_bytes())?;
    staging.publish("model")
}

/// The special tokens that generation needs, as transformers derives them from a model's
/// configuration.
fn generation_config(config: &Value) -> Option<Value> {
    let keys = ["bos_token_id", "eos_token_id", "pad_token_id"];
    let field =
        |key: &str| Some((key.to_owned(), config.get(key).filter(|v| !v.is_null())?.clone()));
    let fields: Map<String, Value> = keys.into_iter().filter_map(field).collect();
    (!fields.is_empty()).then(|| Value::Object(fields))
}

/// The configuration with the type of the weights as written. A reward head has one label;
/// transformers would otherwise assume two.
fn final_config(config: &Value, scalar: bool, dtype: StoredDtype) -> Value {
    let mut config = config.clone();
    let Some(fields) = config.as_object_mut() else { return config };
    let mut key = "torch_dtype";
    if fields.contains_key("dtype") {
        fields.shift_remove(key);
        key = "dtype";
    }
    fields.insert(key.into(), dtype.name().into());
    if scalar {
        fields.insert("id2label".into(), json!({"0": "LABEL_0"}));
        fields.insert("label2id".into(), json!({"LABEL_0": 0}));
    }
    config
}

/// Gathers the tensors of a model under their names, in the order of the model.
struct Saver<'a> {
    family: &'static dyn Family,
    architecture: &'a Architecture,
    dtype: StoredDtype,
    tensors: Vec<Named>,
}

impl Saver<'_> {
    fn name(&self, slot: Slot, part: &str) -> String {
        format!("{}.{part}", self.family.names().module(slot))
    }

    fn vector(&mut self, slot: Slot, part: &str, vector: &Param<Tensor<1>>, order: Order) {
        let name = self.name(slot, part);
        self.tensors.push(Named::vector(name, vector.val(), order, self.dtype));
    }

    fn plain(&mut self, slot: Slot, matrix: &Param<Tensor<2>>) {
        let name = self.name(slot, "weight");
        self.tensors.push(Named::plain(name, matrix.val(), self.dtype));
    }

    fn transposed(&mut self, slot: Slot, matrix: &Param<Tensor<2>>, order: Order) {
        let name = self.name(slot, "weight");
        self.tensors.push(Named::transposed(name, matrix.val(), order, self.dtype));
    }

    fn norm(&mut self, slot: Slot, norm: Option<&Norm>) {
        let Some(norm) = norm else { return };
        self.vector(slot, "weight", &norm.weight, Order::Same);
        if let Some(bias) = &norm.bias {
            self.vector(slot, "bias", bias, Order::Same);
        }
    }

    fn linear(&mut self, slot: Slot, linear: &Linear, order: Order) {
        match self.family.storage() {
            Storage::OutIn => self.transposed(slot, &linear.weight, order),
            Storage::InOut => self.plain(slot, &linear.weight),
        }
        if let Some(bias) = &linear.bias {
            self.vector(slot, "bias", bias, order);
        }
    }

    fn block(&mut self, i: usize, block: &Block) {
        self.norm(Slot::AttentionNorm(i), Some(&block.attention_norm));
        self.norm(Slot::AttentionOutNorm(i), block.attention_out_norm.as_ref());
        self.norm(Slot::MlpNorm(i), Some(&block.mlp_norm));
        self.norm(Slot::MlpOutNorm(i), block.mlp_out_norm.as_ref());
        self.norm(Slot::QueryNorm(i), block.query_norm.as_ref());
        self.norm(Slot::KeyNorm(i), block.key_norm.as_ref());
        let shape = &self.architecture.shape;
        for (linear, &target) in block.projections.iter().zip(shape.targets()) {
            let order = self.family.order(shape, target);
            self.linear(Slot::Projection(i, target), linear, order);
        }
    }

    fn trunk(&mut self, trunk: &Trunk) {
        self.plain(Slot::Embedding, &trunk.embedding);
        if let Some(positions) = &trunk.positions {
            self.plain(Slot::Positions, positions);
        }
        for (slot, matrix) in
            [(Slot::ProjectIn, &trunk.project_in), (Slot::ProjectOut, &trunk.project_out)]
        {
            if let Some(matrix) = matrix {
                self.transposed(slot, matrix, Order::Same);
            }
        }
        for (i, block) in trunk.blocks.iter().enumerate() {
            self.block(i, block);
        }
        self.norm(Slot::FinalNorm, trunk.norm.as_ref());
        if let Some(head) = &trunk.head {
            self.transposed(Slot::LmHead, head, Order::Same);
        }
    }
}
