//! The weights of a placement, as buffers.

use super::store::{Id, Store};
use crate::{Category, Workload};
use hydralign_placement::{LoraShape, ModelShape, Placement, Role, Target, View};
use std::collections::BTreeMap;

/// A norm's weights.
pub(crate) struct NormWeights {
    pub(crate) weight: Id,
    pub(crate) bias: Option<Id>,
}

/// A block's weights.
pub(crate) struct BlockWeights {
    pub(crate) attention_norm: NormWeights,
    pub(crate) mlp_norm: NormWeights,
    pub(crate) attention_out_norm: Option<NormWeights>,
    pub(crate) mlp_out_norm: Option<NormWeights>,
    pub(crate) query_norm: Option<NormWeights>,
    pub(crate) key_norm: Option<NormWeights>,
    pub(crate) projections: BTreeMap<Target, (Id, Option<Id>)>,
}

/// A trunk's weights.
pub(crate) struct TrunkWeights {
    pub(crate) embedding: Id,
    pub(crate) positions: Option<Id>,
    pub(crate) project_in: Option<Id>,
    pub(crate) project_out: Option<Id>,
    pub(crate) blocks: Vec<BlockWeights>,
    pub(crate) norm: Option<NormWeights>,
    pub(crate) head: Option<Id>,
}

/// An adapter's pairs, block by block.
pub(crate) struct AdapterWeights {
    pub(crate) pairs: Vec<BTreeMap<Target, [Id; 2]>>,
}

/// Everything that a placement holds.
pub(crate) struct Bank<'a> {
    pub(crate) store: Store,
    pub(crate) trunks: Vec<TrunkWeights>,
    pub(crate) adapters: BTreeMap<String, AdapterWeights>,
    pub(crate) heads: BTreeMap<Role, Id>,
    pub(crate) placement: &'a Placement,
}

struct Builder<'a> {
    store: &'a Store,
    trained: bool,
    /// Bytes of a number in projections and in an embedding that is not the head.
    matrix: u64,
    /// Bytes of any other number.
    width: u64,
}

impl Builder<'_> {
    fn make(&self, dims: &[usize]) -> Id {
        let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
        self.store.make(&dims, self.width, self.trained)
    }

    fn matrix(&self, dims: [usize; 2]) -> Id {
        self.store.make(&dims.map(|d| d as u64), self.matrix, self.trained)
    }

    fn norm(&self, size: usize, bias: bool) -> NormWeights {
        let weight = self.make(&[size]);
        NormWeights { weight, bias: bias.then(|| self.make(&[size])) }
    }

    fn block(&self, shape: &ModelShape) -> BlockWeights {
        let parts = &shape.parts;
        let norm = || self.norm(shape.hidden, parts.norm_bias);
        let head_norm = || parts.qk_norm.then(|| self.norm(shape.head_dim, false));
        BlockWeights {
            attention_norm: norm(),
            mlp_norm: norm(),
            attention_out_norm: parts.sandwich.then(norm),
            mlp_out_norm: parts.sandwich.then(norm),
            query_norm: head_norm(),
            key_norm: head_norm(),
            projections: (shape.targets().iter())
                .map(|&target| {
                    let dims = shape.projection(target);
                    let weight = self.matrix(dims);
                    (target, (weight, parts.has_bias(target).then(|| self.make(&dims[1..]))))
                })
                .collect(),
        }
    }

    fn trunk(&self, shape: &ModelShape, predicts: bool) -> TrunkWeights {
        let (width, hidden) = (shape.width(), shape.hidden);
        let projects = shape.parts.embedding.is_some();
        TrunkWeights {
            embedding: match shape.tied {
                true => self.make(&[shape.vocab, width]),
                false => self.matrix([shape.vocab, width]),
            },
            positions: shape.parts.positions.map(|rows| self.make(&[rows, hidden])),
            project_in: projects.then(|| self.make(&[width, hidden])),
            project_out: projects.then(|| self.make(&[hidden, width])),
            blocks: (0..shape.layers).map(|_| self.block(shape)).collect(),
            norm: shape.parts.final_norm.then(|| self.norm(hidden, shape.parts.norm_bias)),
            head: (predicts && !shape.tied).then(|| self.make(&[width, shape.vocab])),
        }
    }

    fn adapter(&self, shape: &ModelShape, lora: &LoraShape) -> AdapterWeights {
        let pair = |target: Target| {
            let [rows, columns] = shape.projection(target);
            (target, [self.make(&[rows, lora.rank]), self.make(&[lora.rank, columns])])
        };
        let block = |_| lora.targets_in(shape).map(pair).collect();
        AdapterWeights { pairs: (0..shape.layers).map(block).collect() }
    }
}

impl<'a> Bank<'a> {
    pub(crate) fn new(
        store: Store,
        placement: &'a Placement,
        shape: &ModelShape,
        lora: &LoraShape,
        workload: &Workload,
    ) -> Self {
        let book = store.book().clone();
        let builder = |trained: bool| Builder {
            store: &store,
            trained,
            matrix: if trained { workload.trained_dtype } else { workload.frozen_dtype }.bytes(),
            width: if trained { workload.trained_dtype } else { workload.compute_dtype }.bytes(),
        };
        let trunks = book.under(Category::Weights, || {
            let trunk = |(i, spec): (usize, &hydralign_placement::TrunkSpec)| {
                builder(spec.trainable).trunk(shape, placement.predicts(i))
            };
            placement.trunks.iter().enumerate().map(trunk).collect()
        });
        let adapters = book.under(Category::Adapters, || {
            let adapter = |spec: &hydralign_placement::AdapterSpec| {
                (spec.name.clone(), builder(spec.trainable).adapter(shape, lora))
            };
            placement.adapters.iter().map(adapter).collect()
        });
        let heads = book.under(Category::Heads, || {
            let scalar = placement.views.keys().filter(|r| r.is_scalar());
            scalar
                .map(|&r| (r, builder(placement.head_trainable(r)).make(&[shape.width(), 1])))
                .collect()
        });
        Self { store, trunks, adapters, heads, placement }
    }

    /// What a view looks through.
    pub(crate) fn look(&self, view: &View) -> (&TrunkWeights, Option<&AdapterWeights>) {
        let adapter = view.adapter.as_ref().and_then(|name| self.adapters.get(name));
        // The placement is checked: its views name trunks that it holds.
        (&self.trunks[view.trunk], adapter)
    }
}
