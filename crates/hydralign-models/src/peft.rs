use crate::checkpoint::scalar_head;
use crate::family::{self, Family, Slot};
use crate::low_rank::{LowRank, parameter};
use crate::tensor_file::{Named, TensorFiles, read_json, write_atomic, write_tensors};
use crate::{Adapter, Architecture, ModelError, ScalarHead};
use burn::tensor::Device;
use hydralign_placement::{LoraShape, Target};
use serde_json::{Value, json};
use std::path::Path;

const PREFIX: &str = "base_model.model.";
const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// Saves an adapter, and a scalar head if given, as a PEFT folder.
///
/// With a head the task is sequence classification and the head is in `modules_to_save`, which
/// is how PEFT stores a reward or value model.
///
/// # Errors
/// [`ModelError::Io`] naming the file.
pub fn save_adapter(
    dir: &Path,
    adapter: &Adapter,
    head: Option<&ScalarHead>,
    architecture: &Architecture,
    base: &str,
) -> Result<(), ModelError> {
    let config_path = dir.join(CONFIG);
    let family = family::of(&architecture.config, &config_path)?;
    let mut tensors = Vec::new();
    for index in 0..adapter.blocks.len() {
        for target in Target::ALL {
            let Some(pair) = adapter.pair(index, target) else { continue };
            let module = PREFIX.to_owned() + &family.module(Slot::Projection(index, target));
            tensors.push(Named::transposed(format!("{module}.lora_A.weight"), pair.a.val()));
            tensors.push(Named::transposed(format!("{module}.lora_B.weight"), pair.b.val()));
        }
    }
    if let Some(head) = head {
        let name = format!("{PREFIX}{}.weight", family.module(Slot::ScalarHead));
        tensors.push(Named::transposed(name, head.weight.val()));
    }
    write_tensors(&dir.join(WEIGHTS), &tensors)?;
    let config = config(adapter.lora(), family, head.is_some(), base);
    write_atomic(&config_path, format!("{config:#}\n").as_bytes())
}

/// The last part of a module path: `q_proj` of `model.layers.0.self_attn.q_proj`.
fn suffix(family: &dyn Family, target: Target) -> String {
    let module = family.module(Slot::Projection(0, target));
    module.rsplit('.').next().unwrap_or_default().to_owned()
}

fn config(lora: &LoraShape, family: &dyn Family, scalar: bool, base: &str) -> Value {
    let targets: Vec<String> = lora.targets.iter().map(|&t| suffix(family, t)).collect();
    let alpha = match lora.alpha.fract() {
        0.0 => json!(lora.alpha as i64),
        _ => json!(lora.alpha),
    };
    json!({
        "peft_type": "LORA",
        "task_type": if scalar { "SEQ_CLS" } else { "CAUSAL_LM" },
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": lora.rank_stabilized,
        "target_modules": targets,
        "modules_to_save": if scalar { json!([family.module(Slot::ScalarHead)]) } else { Value::Null },
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
    })
}

/// Loads a PEFT folder for a trunk of this architecture: the adapter, and the scalar head if
/// one was saved with it. Both frozen.
///
/// # Errors
/// A feature that is not supported (DoRA, biases, per-module ranks), a missing, misshapen or
/// unexpected tensor; each names the file and the field or tensor.
pub fn load_adapter(
    dir: &Path,
    architecture: &Architecture,
    device: &Device,
) -> Result<(Adapter, Option<ScalarHead>), ModelError> {
    let config_path = dir.join(CONFIG);
    let config = read_json(&config_path)?;
    let family = family::of(&architecture.config, &config_path)?;
    check_supported(&config, &config_path)?;
    let device = device.clone().without_autodiff();
    let mut files = TensorFiles::open(&dir.join(WEIGHTS))?;
    let lora = lora_shape(&config, &config_path, &files, family)?;
    let mut pairs = Vec::new();
    for index in 0..architecture.shape.layers {
        for &target in &lora.targets {
            pairs.push(pair(&mut files, family, architecture, &lora, (index, target), &device)?);
        }
    }
    let per_block = lora.targets.len();
    let place = |t: Target| lora.targets.iter().position(|&x| x == t).unwrap_or(0);
    let adapter = Adapter::from_pairs(architecture.shape.layers, &lora, |i, t| {
        pairs[i * per_block + place(t)].clone()
    });
    let score = format!("{PREFIX}{}.weight", family.module(Slot::ScalarHead));
    let head = match files.contains(&score) {
        true => Some(scalar_head(&mut files, &score, architecture.shape.hidden, &device)?),
        false => None,
    };
    files.finish()?;
    Ok((adapter, head))
}

fn pair(
    files: &mut TensorFiles,
    family: &dyn Family,
    architecture: &Architecture,
    lora: &LoraShape,
    (index, target): (usize, Target),
    device: &Device,
) -> Result<LowRank, ModelError> {
    let module = PREFIX.to_owned() + &family.module(Slot::Projection(index, target));
    let [input, output] = architecture.shape.projection(target);
    let a = files.transposed(&format!("{module}.lora_A.weight"), [input, lora.rank], device)?;
    let b = files.transposed(&format!("{module}.lora_B.weight"), [lora.rank, output], device)?;
    Ok(LowRank { a: parameter(a, false), b: parameter(b, false) })
}

fn field_error(path: &Path, field: &str, reason: &str) -> ModelError {
    ModelError::Config { path: path.to_owned(), field: field.to_owned(), reason: reason.to_owned() }
}

fn check_supported(config: &Value, path: &Path) -> Result<(), ModelError> {
    let is_set = |field: &str| match config.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(text)) => text != "none",
        Some(_) => true,
    };
    if config.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err(field_error(path, "peft_type", "must be `LORA`"));
    }
    let unsupported =
        ["use_dora", "bias", "lora_bias", "rank_pattern", "alpha_pattern", "fan_in_fan_out"];
    match unsupported.into_iter().find(|f| is_set(f)) {
        Some(field) => Err(field_error(path, field, "is not supported")),
        None => Ok(()),
    }
}

/// Rank and scale from the configuration, targets from the tensors that are there.
fn lora_shape(
    config: &Value,
    path: &Path,
    files: &TensorFiles,
    family: &dyn Family,
) -> Result<LoraShape, ModelError> {
    let rank = config.get("r").and_then(Value::as_u64).filter(|&r| r > 0);
    let alpha = config.get("lora_alpha").and_then(Value::as_f64);
    let present = |t: &Target| {
        let module = PREFIX.to_owned() + &family.module(Slot::Projection(0, *t));
        files.contains(&format!("{module}.lora_A.weight"))
    };
    Ok(LoraShape {
        rank: rank.ok_or_else(|| field_error(path, "r", "must be a positive integer"))? as usize,
        alpha: alpha.ok_or_else(|| field_error(path, "lora_alpha", "must be a number"))?,
        targets: Target::ALL.into_iter().filter(present).collect(),
        rank_stabilized: config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
    })
}
