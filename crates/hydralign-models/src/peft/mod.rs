//! PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.

mod config;
mod matching;

use crate::files::{
    Named, SaveOptions, Staging, StoredDtype, TensorFiles, check_adapter, malformed, read_json,
    write_tensors,
};
use crate::low_rank::LowRank;
use crate::weights::parameter;
use crate::{Adapter, Architecture, ModelError, ScalarHead};
use burn::tensor::Device;
use config::AdapterConfig;
use hydralign_families::{Family, Order, Slot, Storage};
use hydralign_placement::{LoraShape, Target};
use serde_json::{Map, Value, json};
use std::path::Path;

const PREFIX: &str = "base_model.model.";
const STEM: &str = "adapter_model";
const CONFIG: &str = "adapter_config.json";

/// Every projection of every block, with its module.
fn modules<'a>(
    family: &'a dyn Family,
    architecture: &'a Architecture,
) -> impl Iterator<Item = (usize, Target, String)> + 'a {
    let targets = architecture.shape.targets();
    let module = move |i, t| (i, t, family.names().module(Slot::Projection(i, t)));
    (0..architecture.shape.layers).flat_map(move |i| targets.iter().map(move |&t| module(i, t)))
}

/// Loads a PEFT folder for a trunk of this architecture: the adapter, and the scalar head if
/// one was saved with it. Both frozen.
///
/// Ranks and scales may differ from module to module (`rank_pattern`, `alpha_pattern`), and
/// modules may be chosen by list, suffix, pattern or `all-linear`, on some layers only.
///
/// # Errors
/// A feature that is not supported (DoRA, biases …), a missing, misshapen or unexpected tensor;
/// each names the file and the field or tensor.
pub fn load_adapter(
    dir: &Path,
    architecture: &Architecture,
    device: &Device,
) -> Result<(Adapter, Option<ScalarHead>), ModelError> {
    check_adapter(dir)?;
    let config_path = dir.join(CONFIG);
    let config = AdapterConfig::new(&read_json(&config_path)?, &config_path)?;
    let family = architecture.family(&config_path)?;
    let device = device.clone().without_autodiff();
    let mut reader = Reader {
        files: TensorFiles::open(&dir.join(format!("{STEM}.safetensors")))?,
        config,
        family,
        architecture,
        device: &device,
    };
    let mut blocks = Vec::new();
    for index in 0..architecture.shape.layers {
        let mut block = vec![None; Target::ALL.len()];
        for &target in architecture.shape.targets() {
            block[target as usize] = reader.pair(index, target)?;
        }
        blocks.push(block);
    }
    let head = reader.head()?;
    let present =
        |t: &Target| blocks.iter().any(|b: &Vec<Option<LowRank>>| b[*t as usize].is_some());
    let lora = LoraShape {
        rank: reader.config.rank,
        alpha: reader.config.alpha,
        targets: Target::ALL.into_iter().filter(present).collect(),
        rank_stabilized: reader.config.rank_stabilized,
    };
    reader.refuse_whole_matrices()?;
    reader.files.finish()?;
    if lora.targets.is_empty() {
        return Err(ModelError::Config {
            path: config_path,
            field: "target_modules".into(),
            reason: "covers no projection of this model".into(),
        });
    }
    Ok((Adapter { blocks, lora }, head))
}

struct Reader<'a> {
    files: TensorFiles,
    config: AdapterConfig,
    family: &'static dyn Family,
    architecture: &'a Architecture,
    device: &'a Device,
}

impl Reader<'_> {
    /// Refuses a whole matrix that was trained or saved beside the pairs.
    fn refuse_whole_matrices(&self) -> Result<(), ModelError> {
        const WHOLE: [&str; 5] = [
            "lm_head.weight",
            "embed_tokens.weight",
            "wte.weight",
            "embed_in.weight",
            "embed_out.weight",
        ];
        let whole = |name: &&str| WHOLE.iter().any(|end| name.ends_with(end));
        match self.files.names().find(whole) {
            None => Ok(()),
            Some(name) => {
                let reason = format!(
                    "`{name}`: a whole embedding or LM head beside the adapter (`modules_to_save`, `save_embedding_layers`) is not read; merge it into the base with peft"
                );
                Err(malformed(self.files.path(), reason))
            }
        }
    }

    fn pair(&mut self, index: usize, target: Target) -> Result<Option<LowRank>, ModelError> {
        let module = self.family.names().module(Slot::Projection(index, target));
        let name = |part: &str| format!("{PREFIX}{module}.{part}.weight");
        let there = self.files.contains(&name("lora_A"));
        if !self.config.covers(&module).unwrap_or(there) {
            return Ok(None);
        }
        let shape = &self.architecture.shape;
        let [input, output] = shape.projection(target);
        let order = self.family.order(shape, target);
        let (rank, alpha) = self.config.rank_and_alpha(&module);
        let (files, device) = (&mut self.files, self.device);
        let a = files.transposed(&name("lora_A"), [input, rank], Order::Same, device)?;
        let b = files.transposed(&name("lora_B"), [rank, output], order, device)?;
        let scale = self.config.scale(rank, alpha);
        Ok(Some(LowRank { a: parameter(a, false), b: parameter(b, false), alpha, scale }))
    }

    fn head(&mut self) -> Result<Option<ScalarHead>, ModelError> {
        let name = format!("{PREFIX}{}.weight", self.family.names().module(Slot::ScalarHead));
        if !self.files.contains(&name) {
            return Ok(None);
        }
        let dims = [self.architecture.shape.width(), 1];
        let weight = self.files.transposed(&name, dims, Order::Same, self.device)?;
        Ok(Some(ScalarHead::new(weight, false)))
    }
}

/// Saves an adapter, and a scalar head if given, as a PEFT folder.
///
/// With a head the task is sequence classification and the head is in `modules_to_save`, which
/// is how PEFT stores a reward or value model. `base` is what the configuration names as the
/// base model.
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
    adapter.check_fits(&architecture.shape)?;
    let family = architecture.family(&dir.join(CONFIG))?;
    let mut tensors = Vec::new();
    for (index, target, module) in modules(family, architecture) {
        let Some(pair) = adapter.pair(index, target) else { continue };
        let order = family.order(&architecture.shape, target);
        for (part, matrix, order) in [("A", &pair.a, Order::Same), ("B", &pair.b, order)] {
            let name = format!("{PREFIX}{module}.lora_{part}.weight");
            tensors.push(Named::transposed(name, matrix.val(), order, StoredDtype::F32));
        }
    }
    if let Some(head) = head {
        let name = format!("{PREFIX}{}.weight", family.names().module(Slot::ScalarHead));
        let weight = head.weight.val();
        tensors.push(Named::transposed(name, weight, Order::Same, StoredDtype::F32));
    }
    let staging = Staging::new(dir)?;
    write_tensors(staging.dir(), STEM, &tensors, SaveOptions::default().shard_bytes)?;
    let config = written_config(adapter, family, architecture, head.is_some(), base);
    staging.write(CONFIG, format!("{config:#}\n").as_bytes())?;
    staging.publish(STEM)
}

fn written_config(
    adapter: &Adapter,
    family: &dyn Family,
    architecture: &Architecture,
    scalar: bool,
    base: &str,
) -> Value {
    let lora = adapter.lora();
    let (ranks, alphas) = patterns(adapter, family, architecture);
    json!({
        "peft_type": "LORA",
        "task_type": if scalar { "SEQ_CLS" } else { "CAUSAL_LM" },
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": number(lora.alpha),
        "lora_dropout": 0.0,
        "use_rslora": lora.rank_stabilized,
        "target_modules": target_modules(adapter, family, architecture),
        "modules_to_save": match scalar {
            true => json!([family.names().module(Slot::ScalarHead)]),
            false => Value::Null,
        },
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "bias": "none",
        "fan_in_fan_out": family.storage() == Storage::InOut,
        "inference_mode": true,
        "init_lora_weights": true,
    })
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// The last parts of the modules' names where they say exactly which modules carry pairs, and
/// full names where they would say more: `c_proj` of GPT-2 is in both halves of a block.
fn target_modules(
    adapter: &Adapter,
    family: &dyn Family,
    architecture: &Architecture,
) -> Vec<String> {
    let last = |module: &str| module.rsplit('.').next().unwrap_or_default().to_owned();
    let (mut covered, mut bare) = (Vec::new(), Vec::new());
    for (index, target, module) in modules(family, architecture) {
        let list = if adapter.pair(index, target).is_some() { &mut covered } else { &mut bare };
        list.push(module);
    }
    let mut suffixes: Vec<String> = Vec::new();
    for suffix in covered.iter().map(|m| last(m)) {
        if !suffixes.contains(&suffix) {
            suffixes.push(suffix);
        }
    }
    let exact = !bare.iter().any(|module| suffixes.contains(&last(module)));
    if exact { suffixes } else { covered }
}

/// The modules whose rank or α is not the adapter's.
fn patterns(
    adapter: &Adapter,
    family: &dyn Family,
    architecture: &Architecture,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for (index, target, module) in modules(family, architecture) {
        let Some(pair) = adapter.pair(index, target) else { continue };
        if pair.rank() != adapter.lora.rank {
            ranks.insert(module.clone(), json!(pair.rank()));
        }
        if pair.alpha != adapter.lora.alpha {
            alphas.insert(module, number(pair.alpha));
        }
    }
    (ranks, alphas)
}
