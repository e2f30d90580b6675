use crate::attention::softcap;
use crate::block::{Block, Frame, Lens};
use crate::cache::Cache;
use crate::files::StoredDtype;
use crate::norm::Norm;
use crate::sight::{Sights, Stand};
use crate::weights::{duplicate, parameter, share, weight};
use crate::{Adapter, ModelError};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{CoreError, Gradient};
use hydralign_families::{Architecture, Positions};

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
    /// Number type of the file that the weights came from; f32 once they are trained.
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
        let width = tokens.len() / rows;
        let stand = Stand { starts: &[0], queries: width, filled: width };
        self.run(tokens, rows, &stand, lens, None)
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
        mut cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let frame = Frame {
            lens,
            architecture: &self.architecture,
            sights: Sights::new(&self.architecture, stand, &self.device()),
            rows,
        };
        let mut x = self.embed(tokens, rows, stand, lens.gradient);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(index, x, &frame, cache.as_deref_mut());
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(x, &self.architecture, lens.gradient);
        }
        match &self.project_out {
            Some(out) => x.matmul(weight(out, lens.gradient)),
            None => x,
        }
    }

    /// Embeddings of the tokens, with learned positions if the family has them.
    fn embed(
        &self,
        tokens: &[u32],
        rows: usize,
        stand: &Stand<'_>,
        gradient: Gradient,
    ) -> Tensor<2> {
        let device = self.device();
        let ids = tokens.iter().map(|&t| i64::from(t)).collect();
        let mut x = weight(&self.embedding, gradient).select(0, indices(ids, &device));
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
        let logits = match &self.head {
            Some(head) => hidden.matmul(weight(head, gradient)),
            None if self.architecture.shape.tied => {
                hidden.matmul(weight(&self.embedding, gradient).transpose())
            }
            None => return Err(CoreError::Other("this checkpoint has no LM head".into())),
        };
        Ok(softcap(logits, self.architecture.logit_softcap))
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        let copy = duplicate(self, trainable);
        Self { dtype: if trainable { StoredDtype::F32 } else { self.dtype }, ..copy }
    }

    /// W + s·AB in every projection that the adapter covers. Everything else is shared with this
    /// trunk, which stays as it is.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] if the adapter was made for another shape.
    pub fn merge(&self, adapter: &Adapter) -> Result<Self, ModelError> {
        self.shifted(adapter, 1.0)
    }

    /// W − s·AB: takes a merged adapter out again, up to the rounding of both steps.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] if the adapter was made for another shape.
    pub fn unmerge(&self, adapter: &Adapter) -> Result<Self, ModelError> {
        self.shifted(adapter, -1.0)
    }

    fn shifted(&self, adapter: &Adapter, sign: f64) -> Result<Self, ModelError> {
        adapter.check_fits(&self.architecture.shape)?;
        let targets = self.architecture.shape.targets();
        let mut merged = Self { dtype: StoredDtype::F32, ..share(self) };
        for (index, block) in merged.blocks.iter_mut().enumerate() {
            for (linear, &target) in block.projections.iter_mut().zip(targets) {
                let Some(pair) = adapter.pair(index, target) else { continue };
                let dense = pair.dense().mul_scalar(sign);
                linear.weight = parameter(linear.weight.val().add(dense), false);
            }
        }
        Ok(merged)
    }
}

fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
