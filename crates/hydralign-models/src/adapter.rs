use crate::init::uniform;
use crate::low_rank::{LowRank, parameter};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use hydralign_placement::{LoraShape, ModelShape, Target};

/// One low-rank adapter over every block of a trunk (Hu et al. 2021, §4.1).
#[derive(Module, Debug)]
pub struct Adapter {
    /// Per block, one optional pair per projection in the order of [`Target::ALL`].
    pub(crate) blocks: Vec<Vec<Option<LowRank>>>,
    #[module(skip)]
    pub(crate) lora: LoraShape,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1/√in (peft's Kaiming initialisation), B zero, so that
    /// the adapted model starts out equal to the trunk.
    pub fn fresh(
        shape: &ModelShape,
        lora: &LoraShape,
        trainable: bool,
        seed: u64,
        device: &Device,
    ) -> Self {
        let pair = |block: usize, target: Target| {
            let [input, output] = shape.projection(target);
            let stream = (block * Target::ALL.len() + target as usize) as u64;
            let bound = 1.0 / (input as f64).sqrt();
            LowRank {
                a: parameter(uniform([input, lora.rank], bound, seed, stream, device), trainable),
                b: parameter(Tensor::zeros([lora.rank, output], device), trainable),
            }
        };
        Self::from_pairs(shape.layers, lora, pair)
    }

    pub(crate) fn from_pairs(
        layers: usize,
        lora: &LoraShape,
        pair: impl Fn(usize, Target) -> LowRank,
    ) -> Self {
        let block = |i| {
            let present = |t| lora.targets.contains(&t).then(|| pair(i, t));
            Target::ALL.into_iter().map(present).collect()
        };
        Self { blocks: (0..layers).map(block).collect(), lora: lora.clone() }
    }

    /// Rank, scale and targets.
    pub fn lora(&self) -> &LoraShape {
        &self.lora
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        let copy = |pair: &Option<LowRank>| pair.as_ref().map(|p| p.duplicate(trainable));
        let block = |b: &Vec<Option<LowRank>>| b.iter().map(copy).collect();
        Self { blocks: self.blocks.iter().map(block).collect(), lora: self.lora.clone() }
    }

    pub(crate) fn pair(&self, block: usize, target: Target) -> Option<&LowRank> {
        self.blocks.get(block)?.get(target as usize)?.as_ref()
    }
}
