use crate::ModelError;
use crate::init::uniform;
use crate::low_rank::LowRank;
use crate::weights::{duplicate, parameter};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use hydralign_placement::{LoraShape, ModelShape, Target};

/// One low-rank adapter over the blocks of a trunk (Hu et al. 2021, §4.1).
#[derive(Module, Debug)]
pub struct Adapter {
    /// Per block, one optional pair per projection in the order of [`Target::ALL`]. Ranks and
    /// scales may differ from pair to pair.
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
        let targets = shape.targets();
        let pair = |block: usize, target: Target| {
            let place = targets.iter().position(|&t| t == target)?;
            let [input, output] = shape.projection(target);
            let stream = (block * targets.len() + place) as u64;
            let bound = 1.0 / (input as f64).sqrt();
            lora.targets.contains(&target).then(|| LowRank {
                a: parameter(uniform([input, lora.rank], bound, seed, stream, device), trainable),
                b: parameter(Tensor::zeros([lora.rank, output], device), trainable),
                alpha: lora.alpha,
                scale: lora.scale(),
            })
        };
        let block = |i| Target::ALL.into_iter().map(|t| pair(i, t)).collect();
        Self { blocks: (0..shape.layers).map(block).collect(), lora: lora.clone() }
    }

    /// Rank, scale and targets. Where they differ from pair to pair, the most common ones.
    pub fn lora(&self) -> &LoraShape {
        &self.lora
    }

    /// Parameters of all pairs.
    pub fn parameters(&self) -> usize {
        let pairs = self.blocks.iter().flatten().flatten();
        pairs.map(|p| p.a.val().shape().num_elements() + p.b.val().shape().num_elements()).sum()
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        duplicate(self, trainable)
    }

    pub(crate) fn pair(&self, block: usize, target: Target) -> Option<&LowRank> {
        self.blocks.get(block)?.get(target as usize)?.as_ref()
    }

    /// Fails if a pair does not fit its projection.
    pub(crate) fn check_fits(&self, shape: &ModelShape) -> Result<(), ModelError> {
        let mismatch =
            |what, expected: String, got: String| Err(ModelError::Mismatch { what, expected, got });
        if self.blocks.len() != shape.layers {
            let (expected, got) = (shape.layers.to_string(), self.blocks.len().to_string());
            return mismatch("blocks of the adapter", expected, got);
        }
        for (index, target) in
            (0..shape.layers).flat_map(|i| Target::ALL.map(move |target| (i, target)))
        {
            let Some(pair) = self.pair(index, target) else { continue };
            let got = [pair.a.val().dims()[0], pair.b.val().dims()[1]];
            let expected = shape.projection(target);
            if got != expected || !shape.targets().contains(&target) {
                let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
                return mismatch("a projection that the adapter covers", expected, got);
            }
        }
        Ok(())
    }
}
