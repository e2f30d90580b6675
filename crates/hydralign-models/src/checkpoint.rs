use crate::files::{TensorFiles, check_model};
use crate::load::{Loader, untie};
use crate::{Adapter, ModelError, ScalarHead, Trunk};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use hydralign_core::Fingerprint;
use hydralign_families::{self as families, Architecture, Family};
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

impl Checkpoint {
    /// A name that is the same exactly if all numbers of trunk and adapter are, and the architecture:
    /// for caches of what the model has said.
    ///
    /// Every tensor is copied to the host once, one at a time.
    pub fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new("hydralign checkpoint");
        fingerprint.text(&format!("{:?}", self.trunk.architecture()));
        self.trunk.visit(&mut Hashed(&mut fingerprint));
        fingerprint.text(if self.adapter.is_some() { "adapter" } else { "no adapter" });
        if let Some(adapter) = &self.adapter {
            // Which projections the pairs belong to, and their scales: the visit sees neither.
            for block in &adapter.blocks {
                let scales: Vec<Option<u64>> =
                    block.iter().map(|p| p.as_ref().map(|p| p.scale.to_bits())).collect();
                fingerprint.text(&format!("{scales:?}"));
            }
            adapter.visit(&mut Hashed(&mut fingerprint));
        }
        fingerprint.finish()
    }
}

struct Hashed<'a>(&'a mut Fingerprint);

impl ModuleVisitor for Hashed<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().without_autodiff().into_data();
        self.0.text(&format!("{:?}", data.shape()));
        self.0.numbers(&data.iter::<f32>().collect::<Vec<_>>());
    }
}

/// Loads a Hugging Face folder: `config.json` and `model.safetensors` or its shards.
///
/// Tensors are read piece by piece straight into the model's own memory, so that the file is
/// never held beside the model. f16 and bf16 become f32. `lm_head.weight` may be absent in a
/// sequence-classification checkpoint, whose `score.weight` becomes the reward head.
///
/// A configuration that ties embedding and head is not believed where the file holds a head with other
/// numbers, as in transformers: the model is read untied, and its configuration says so.
///
/// # Errors
/// A place that holds something else (an adapter, pickled weights, one file), which is named. An unknown family, a missing, misshapen or unexpected tensor, a truncated file; each names
/// the file and the tensor or field.
pub fn load_checkpoint(dir: &Path, device: &Device) -> Result<Checkpoint, ModelError> {
    check_model(dir)?;
    load(dir, families::read_architecture(dir)?, device)
}

/// As [`load_checkpoint`], of a family of your own. Adapters of the model, and what is saved of it, have its names.
///
/// # Errors
/// As [`load_checkpoint`]; a `model_type` that is not the family's.
pub fn load_checkpoint_of(
    family: &'static dyn Family,
    dir: &Path,
    device: &Device,
) -> Result<Checkpoint, ModelError> {
    check_model(dir)?;
    let path = dir.join("config.json");
    let config = families::read_config(&path)?;
    load(dir, families::architecture_of(family, &config, &path)?, device)
}

fn load(
    dir: &Path,
    mut architecture: Architecture,
    device: &Device,
) -> Result<Checkpoint, ModelError> {
    let family = architecture.family(&dir.join("config.json"))?;
    let device = device.clone().without_autodiff();
    let tensors = TensorFiles::open_dir(dir)?;
    untie(&mut architecture, family, &tensors)?;
    let mut loader = Loader::new(tensors, family, &architecture, &device);
    let reward_head = loader.scalar_head()?;
    let trunk = loader.trunk(reward_head.is_some())?;
    loader.finish()?;
    Ok(Checkpoint { trunk, adapter: None, reward_head })
}
