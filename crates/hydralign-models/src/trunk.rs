use crate::architecture::Architecture;
use crate::attention::{causal_bias, left_padding_bias};
use crate::block::{Block, Frame, Lens};
use crate::cache::Cache;
use crate::low_rank::{duplicate, parameter, weight};
use crate::norm::rms_norm;
use crate::rope::Rotation;
use crate::{Adapter, ModelError};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{CoreError, Gradient};
use hydralign_placement::Target;

/// One full set of decoder weights: embedding, blocks, final norm and LM head.
#[derive(Module, Debug)]
pub struct Trunk {
    pub(crate) embedding: Param<Tensor<2>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Param<Tensor<1>>,
    /// `[hidden, vocab]`; absent when the head is the transposed embedding, and in sequence
    /// classifiers.
    pub(crate) head: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(crate) architecture: Architecture,
}

impl Trunk {
    /// Everything about it that is not a weight.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The device that it lives on, without autodiff.
    pub fn device(&self) -> Device {
        self.norm.val().device().without_autodiff()
    }

    /// Hidden states after the final norm of right-padded rows.
    ///
    /// # Shapes
    /// `tokens`: row-major `[rows, width]` → `[rows·width, hidden]`.
    pub(crate) fn hidden(&self, tokens: &[u32], rows: usize, lens: Lens<'_>) -> Tensor<2> {
        let (device, width) = (self.device(), tokens.len() / rows);
        let positions: Vec<usize> = (0..width).collect();
        let frame = Frame {
            lens,
            architecture: &self.architecture,
            rotation: self.rotation(&positions, 1, &device),
            bias: Some(causal_bias(width, &device)),
            rows,
        };
        self.run(tokens, &frame, None)
    }

    /// Hidden states of the newest positions, `[rows·t, hidden]`, reading and extending a cache.
    /// Rows are left-padded to the cache's `starts`.
    pub(crate) fn hidden_cached(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        lens: Lens<'_>,
    ) -> Tensor<2> {
        let (device, rows) = (self.device(), cache.rows());
        let time = tokens.len() / rows;
        let filled = cache.filled + time;
        let padded = cache.is_padded();
        let row_positions =
            |&start: &usize| (cache.filled..filled).map(move |p| p.saturating_sub(start));
        let positions: Vec<usize> = match padded {
            true => cache.starts.iter().flat_map(row_positions).collect(),
            false => (cache.filled..filled).collect(),
        };
        let bias = match (padded, time) {
            (true, _) => Some(left_padding_bias(&cache.starts, time, filled, &device)),
            (false, 1) => None,
            (false, _) => Some(left_padding_bias(&[0], time, filled, &device)),
        };
        let frame = Frame {
            lens,
            architecture: &self.architecture,
            rotation: self.rotation(&positions, if padded { rows } else { 1 }, &device),
            bias,
            rows,
        };
        let hidden = self.run(tokens, &frame, Some(cache));
        cache.filled = filled;
        hidden
    }

    fn rotation(&self, positions: &[usize], rows: usize, device: &Device) -> Rotation {
        let Architecture { rope, shape, .. } = &self.architecture;
        Rotation::new(rope, shape.head_dim, positions, rows, device)
    }

    fn run(&self, tokens: &[u32], frame: &Frame<'_>, mut cache: Option<&mut Cache>) -> Tensor<2> {
        let gradient = frame.lens.gradient;
        let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &self.device());
        let mut x = weight(&self.embedding, gradient).select(0, ids);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(index, x, frame, cache.as_deref_mut());
        }
        rms_norm(x, &self.norm, self.architecture.norm_eps, gradient)
    }

    /// Logits of hidden states: `[n, hidden]` → `[n, vocab]`.
    ///
    /// # Errors
    /// A sequence classifier with an untied embedding has no LM head.
    pub(crate) fn logits(
        &self,
        hidden: Tensor<2>,
        gradient: Gradient,
    ) -> Result<Tensor<2>, CoreError> {
        match &self.head {
            Some(head) => Ok(hidden.matmul(weight(head, gradient))),
            None if self.architecture.shape.tied => {
                Ok(hidden.matmul(weight(&self.embedding, gradient).transpose()))
            }
            None => Err(CoreError::Other("this checkpoint has no LM head".into())),
        }
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        let block = |b: &Block| Block {
            attention_norm: duplicate(&b.attention_norm, trainable),
            mlp_norm: duplicate(&b.mlp_norm, trainable),
            projections: b.projections.iter().map(|p| duplicate(p, trainable)).collect(),
        };
        Self {
            embedding: duplicate(&self.embedding, trainable),
            blocks: self.blocks.iter().map(block).collect(),
            norm: duplicate(&self.norm, trainable),
            head: self.head.as_ref().map(|h| duplicate(h, trainable)),
            architecture: self.architecture.clone(),
        }
    }

    /// W + s·AB in every projection that the adapter covers; a new trunk, the old one unchanged.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] if the adapter has another number of blocks.
    pub fn merge(&self, adapter: &Adapter) -> Result<Self, ModelError> {
        if adapter.blocks.len() != self.blocks.len() {
            return Err(ModelError::Mismatch {
                what: "blocks of the adapter",
                expected: self.blocks.len().to_string(),
                got: adapter.blocks.len().to_string(),
            });
        }
        let mut merged = self.duplicate(false);
        for (index, block) in merged.blocks.iter_mut().enumerate() {
            for target in Target::ALL {
                let Some(pair) = adapter.pair(index, target) else { continue };
                let slot = &mut block.projections[target as usize];
                *slot = parameter(slot.val().add(pair.dense(adapter.lora.scale())), false);
            }
        }
        Ok(merged)
    }
}
