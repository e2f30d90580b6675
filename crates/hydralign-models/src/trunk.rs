use crate::attention::softcap;
use crate::block::{Block, Frame, Lens};
use crate::cache::Cache;
use crate::files::StoredDtype;
use crate::norm::Norm;
use crate::sight::{Sights, Stand};
use crate::weights::{duplicate, held, weight, widened};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{CoreError, Gradient};
use hydralign_families::{Architecture, Positions};
use hydralign_kernels::Vocabulary;
use std::ops::Range;

/// One full set of decoder weights: embedding, blocks, final norm and LM head.
#[derive(Module, Debug)]
pub struct Trunk {
    /// `[vocab, width]`.
    pub(crate) embedding: Param<Tensor<2>>,
    /// `[positions, hidden]`, in families that learn positions.
    pub(crate) positions: Option<Param<Tensor<2>>>,
    /// `[width, hidden]` and `[hidden, width]`, where the embedding is narrower than the blocks.
    pub(crate) project_in: Option<Param<Tensor<2>>>,
    pub(crate) project_out: Option<Param<Tensor<2>>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Option<Norm>,
    /// `[width, vocab]`; absent when the head is the transposed embedding, and in sequence
    /// classifiers.
    pub(crate) head: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(crate) architecture: Architecture,
    /// Number type that the weights are saved in: of the file that they came from, or that they
    /// are held in; f32 once they are trained.
    #[module(skip)]
    pub(crate) dtype: StoredDtype,
}

impl Trunk {
    /// Everything about it that is not a weight.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Whether it can predict tokens: it has an LM head, or its embedding is one.
    pub fn has_lm_head(&self) -> bool {
        self.head.is_some() || self.architecture.shape.tied
    }

    /// The device that it lives on, without autodiff.
    pub fn device(&self) -> Device {
        self.embedding.val().device().without_autodiff()
    }

    /// Output states of right-padded rows.
    ///
    /// # Shapes
    /// `tokens`: row-major `[rows, width]` → `[rows·width, output width]`.
    pub(crate) fn hidden(&self, tokens: &[u32], rows: usize, lens: Lens<'_>) -> Tensor<2> {
        self.run(tokens, rows, &Stand::padded_right(tokens.len() / rows), lens, None)
    }

    /// States of right-padded rows after some blocks, `[rows·width, hidden]`; after all of them, output states.
    ///
    /// # Errors
    /// More blocks than there are.
    pub(crate) fn hidden_after(
        &self,
        tokens: &[u32],
        rows: usize,
        lens: Lens<'_>,
        blocks: usize,
    ) -> Result<Tensor<2>, CoreError> {
        let count = self.blocks.len();
        if blocks > count {
            let error = format!("layer {blocks} was asked for, but the model has {count} blocks");
            return Err(CoreError::Other(error.into()));
        }
        let stand = Stand::padded_right(tokens.len() / rows);
        let sights = Sights::new(&self.architecture, &stand, &self.device());
        let frame = Frame { lens, architecture: &self.architecture, sights: &sights, rows };
        let x = self.embed(tokens, rows, &stand, lens.gradient);
        let x = self.through(0..blocks, x, &frame, None);
        Ok(if blocks == count { self.finish(x, lens.gradient) } else { x })
    }

    /// Output states of the newest positions, `[rows·t, output width]`, reading and extending a
    /// cache. Rows are left-padded to the cache's `starts`.
    pub(crate) fn hidden_cached(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        lens: Lens<'_>,
    ) -> Tensor<2> {
        let rows = cache.rows();
        let queries = tokens.len() / rows;
        let filled = cache.filled + queries;
        let starts = if cache.is_padded() { cache.starts.clone() } else { vec![0] };
        let stand = Stand { starts: &starts, queries, filled };
        let hidden = self.run(tokens, rows, &stand, lens, Some(&mut *cache));
        cache.filled = filled;
        hidden
    }

    fn run(
        &self,
        tokens: &[u32],
        rows: usize,
        stand: &Stand<'_>,
        lens: Lens<'_>,
        cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let sights = Sights::new(&self.architecture, stand, &self.device());
        let frame = Frame { lens, architecture: &self.architecture, sights: &sights, rows };
        let x = self.embed(tokens, rows, stand, lens.gradient);
        let x = self.through(0..self.blocks.len(), x, &frame, cache);
        self.finish(x, lens.gradient)
    }

    /// States after some blocks, `[rows·t, hidden]`.
    pub(crate) fn through(
        &self,
        blocks: Range<usize>,
        mut x: Tensor<2>,
        frame: &Frame<'_>,
        mut cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        for (index, block) in self.blocks.iter().enumerate().take(blocks.end).skip(blocks.start) {
            x = block.forward(index, x, frame, cache.as_deref_mut());
        }
        x
    }

    /// Final norm and projection: states of the last block to output states.
    pub(crate) fn finish(&self, x: Tensor<2>, gradient: Gradient) -> Tensor<2> {
        let x = match &self.norm {
            Some(norm) => norm.forward(x, &self.architecture, gradient),
            None => x,
        };
        match &self.project_out {
            Some(out) => x.matmul(weight(out, gradient)),
            None => x,
        }
    }

    /// Embeddings of the tokens, with learned positions if the family has them.
    pub(crate) fn embed(
        &self,
        tokens: &[u32],
        rows: usize,
        stand: &Stand<'_>,
        gradient: Gradient,
    ) -> Tensor<2> {
        let device = self.device();
        let ids = tokens.iter().map(|&t| i64::from(t)).collect();
        let mut x = widened(held(&self.embedding, gradient).select(0, indices(ids, &device)));
        if let Some(scale) = self.architecture.embedding_scale {
            x = x.mul_scalar(scale);
        }
        if let Some(project_in) = &self.project_in {
            x = x.matmul(weight(project_in, gradient));
        }
        let (Some(table), Positions::Learned { offset }) =
            (&self.positions, self.architecture.positions)
        else {
            return x;
        };
        let places = stand.positions().into_iter().map(|p| (p + offset) as i64).collect();
        let learned = weight(table, gradient).select(0, indices(places, &device));
        let [count, hidden] = learned.dims();
        if count == x.dims()[0] {
            return x.add(learned);
        }
        let x = x.reshape([rows, count, hidden]).add(learned.unsqueeze());
        x.reshape([rows * count, hidden])
    }

    /// Logits of output states: `[n, output width]` → `[n, vocab]`.
    ///
    /// # Errors
    /// A sequence classifier with an untied embedding has no LM head.
    pub(crate) fn logits(
        &self,
        hidden: Tensor<2>,
        gradient: Gradient,
    ) -> Result<Tensor<2>, CoreError> {
        let logits = match self.vocabulary(gradient)? {
            Vocabulary::Head(head) => hidden.matmul(head),
            Vocabulary::Embedding(embedding) => hidden.matmul(embedding.transpose()),
        };
        Ok(softcap(logits, self.architecture.logit_softcap))
    }

    /// The matrix from output states to logits.
    ///
    /// # Errors
    /// A sequence classifier with an untied embedding has none.
    pub(crate) fn vocabulary(&self, gradient: Gradient) -> Result<Vocabulary, CoreError> {
        match &self.head {
            Some(head) => Ok(Vocabulary::Head(weight(head, gradient))),
            None if self.architecture.shape.tied => {
                Ok(Vocabulary::Embedding(weight(&self.embedding, gradient)))
            }
            None => Err(CoreError::Other("this checkpoint has no LM head".into())),
        }
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        let copy = duplicate(self, trainable);
        Self { dtype: if trainable { StoredDtype::F32 } else { self.dtype }, ..copy }
    }
}

fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
