use crate::block::Block;
use crate::family::{self, Family, Slot};
use crate::low_rank::parameter;
use crate::tensor_file::{Named, TensorFiles, read_json, write_atomic, write_tensors};
use crate::{Adapter, Architecture, ModelError, ScalarHead, Trunk};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use hydralign_placement::Target;
use serde_json::{Value, json};
use std::path::Path;

/// A model as a run starts from it: a trunk and what came with it. All of it frozen; the bank
/// makes the copies that are trained.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The decoder.
    pub trunk: Trunk,
    /// A trained adapter that is not merged.
    pub adapter: Option<Adapter>,
    /// The reward head (`score.weight`).
    pub reward_head: Option<ScalarHead>,
}

/// Loads a Hugging Face folder: `config.json` and `model.safetensors` or its shards.
///
/// Tensors are read one by one, so that the file is never held beside the model. f16 and bf16
/// become f32. `lm_head.weight` may be absent in a sequence-classification checkpoint, whose
/// `score.weight` becomes the reward head.
///
/// # Errors
/// An unknown family, a missing, misshapen or unexpected tensor, a truncated file; each names
/// the file and the tensor or field.
pub fn load_checkpoint(dir: &Path, device: &Device) -> Result<Checkpoint, ModelError> {
    let config_path = dir.join("config.json");
    let config = read_json(&config_path)?;
    let family = family::of(&config, &config_path)?;
    let architecture = family::architecture(&config, &config_path)?;
    let device = device.clone().without_autodiff();
    let mut files = TensorFiles::open_dir(dir)?;
    let score = family.module(Slot::ScalarHead) + ".weight";
    let reward_head = match files.contains(&score) {
        true => Some(scalar_head(&mut files, &score, architecture.shape.hidden, &device)?),
        false => None,
    };
    let trunk = trunk(&mut files, family, architecture, reward_head.is_some(), &device)?;
    for buffer in rotary_buffers(&files) {
        files.ignore(&buffer);
    }
    files.finish()?;
    Ok(Checkpoint { trunk, adapter: None, reward_head })
}

/// Old Llama checkpoints store the rotary frequencies, which follow from the configuration.
fn rotary_buffers(files: &TensorFiles) -> Vec<String> {
    files.names().filter(|n| n.ends_with("rotary_emb.inv_freq")).map(str::to_owned).collect()
}

pub(crate) fn scalar_head(
    files: &mut TensorFiles,
    name: &str,
    hidden: usize,
    device: &Device,
) -> Result<ScalarHead, ModelError> {
    Ok(ScalarHead::new(files.transposed(name, [hidden, 1], device)?, false))
}

fn trunk(
    files: &mut TensorFiles,
    family: &dyn Family,
    architecture: Architecture,
    head_may_be_absent: bool,
    device: &Device,
) -> Result<Trunk, ModelError> {
    let shape = architecture.shape.clone();
    let name = |slot| family.module(slot) + ".weight";
    let norm = |files: &mut TensorFiles, slot| -> Result<Param<Tensor<1>>, ModelError> {
        Ok(parameter(files.tensor(&name(slot), [shape.hidden], device)?, false))
    };
    let block = |files: &mut TensorFiles, i: usize| -> Result<Block, ModelError> {
        let mut projection = |t: Target| {
            let slot = name(Slot::Projection(i, t));
            Ok(parameter(files.transposed(&slot, shape.projection(t), device)?, false))
        };
        let projections =
            Target::ALL.into_iter().map(&mut projection).collect::<Result<_, ModelError>>()?;
        Ok(Block {
            attention_norm: norm(files, Slot::AttentionNorm(i))?,
            mlp_norm: norm(files, Slot::MlpNorm(i))?,
            projections,
        })
    };
    let embedding = files.tensor(&name(Slot::Embedding), [shape.vocab, shape.hidden], device)?;
    let blocks = (0..shape.layers).map(|i| block(files, i)).collect::<Result<_, _>>()?;
    let final_norm = norm(files, Slot::FinalNorm)?;
    let lm_head = name(Slot::LmHead);
    let head = if shape.tied {
        files.ignore(&lm_head);
        None
    } else if files.contains(&lm_head) || !head_may_be_absent {
        let head = files.transposed(&lm_head, [shape.hidden, shape.vocab], device)?;
        Some(parameter(head, false))
    } else {
        None
    };
    Ok(Trunk {
        embedding: parameter(embedding, false),
        blocks,
        norm: final_norm,
        head,
        architecture,
    })
}

/// Saves a trunk, and a reward head if given, as a Hugging Face folder.
///
/// Each file is written beside its place and renamed into it, weights before `config.json`.
///
/// # Errors
/// [`ModelError::Io`] naming the file.
pub fn save_checkpoint(
    dir: &Path,
    trunk: &Trunk,
    reward_head: Option<&ScalarHead>,
) -> Result<(), ModelError> {
    let config_path = dir.join("config.json");
    let config = &trunk.architecture.config;
    let family = family::of(config, &config_path)?;
    let mut tensors = trunk_tensors(trunk, family);
    if let Some(head) = reward_head {
        let name = family.module(Slot::ScalarHead) + ".weight";
        tensors.push(Named::transposed(name, head.weight.val()));
    }
    write_tensors(&dir.join("model.safetensors"), &tensors)?;
    let config = with_labels(config, reward_head.is_some());
    write_atomic(&config_path, format!("{config:#}\n").as_bytes())
}

/// A reward head has one label; transformers would otherwise assume two.
fn with_labels(config: &Value, scalar: bool) -> Value {
    let mut config = config.clone();
    if let (true, Some(fields)) = (scalar, config.as_object_mut()) {
        fields.insert("id2label".into(), json!({"0": "LABEL_0"}));
        fields.insert("label2id".into(), json!({"LABEL_0": 0}));
    }
    config
}

fn trunk_tensors(trunk: &Trunk, family: &dyn Family) -> Vec<Named> {
    let name = |slot| family.module(slot) + ".weight";
    let mut tensors = vec![
        Named::plain(name(Slot::Embedding), trunk.embedding.val()),
        Named::plain(name(Slot::FinalNorm), trunk.norm.val()),
    ];
    if let Some(head) = &trunk.head {
        tensors.push(Named::transposed(name(Slot::LmHead), head.val()));
    }
    for (i, block) in trunk.blocks.iter().enumerate() {
        tensors.push(Named::plain(name(Slot::AttentionNorm(i)), block.attention_norm.val()));
        tensors.push(Named::plain(name(Slot::MlpNorm(i)), block.mlp_norm.val()));
        for target in Target::ALL {
            let weight = block.projections[target as usize].val();
            tensors.push(Named::transposed(name(Slot::Projection(i, target)), weight));
        }
    }
    tensors
}
