//! The decoder, operation by operation as hydralign-models runs it.

use super::block::softcap;
use super::flat::Flat;
use super::store::Store;
use super::tape::Var;
use super::weights::{AdapterWeights, TrunkWeights};
use hydralign_families::{Architecture, Positions};

/// Bytes of an index.
const INDEX: u64 = 8;
/// Bytes of a number in tables of angles and masks, and in statistics.
pub(super) const TABLE: u64 = 4;

/// Keys and values of every block.
pub(crate) struct Cache {
    pub(crate) slots: Vec<Option<[Flat; 2]>>,
    pub(crate) filled: u64,
}

/// What a pass looks through and over.
pub(crate) struct Pass<'a> {
    pub(crate) store: &'a Store,
    pub(crate) architecture: &'a Architecture,
    pub(crate) trunk: &'a TrunkWeights,
    pub(crate) adapter: Option<&'a AdapterWeights>,
    pub(crate) graph: bool,
    pub(crate) rows: u64,
    /// Positions that ask.
    pub(crate) queries: u64,
    /// Positions in all.
    pub(crate) filled: u64,
}

/// Tables that all blocks share.
pub(crate) struct Sight {
    pub(super) rotation: Option<[Flat; 2]>,
    pub(super) rotated: u64,
    pub(super) bias: Option<Flat>,
}

impl Pass<'_> {
    pub(super) fn table(&self, dims: &[u64], width: u64) -> Flat {
        Flat::new(self.store.book(), dims, width)
    }

    pub(crate) fn index(&self, count: u64) -> Flat {
        self.table(&[count], INDEX)
    }

    /// Bytes of a number of an activation.
    pub(crate) fn width(&self) -> u64 {
        self.store.compute()
    }

    pub(super) fn weight(&self, id: usize) -> Var {
        self.store.get(id, self.graph)
    }

    pub(crate) fn sight(&self) -> Sight {
        let rotated = match self.architecture.positions {
            Positions::Rotary { dims, .. } => dims as u64,
            Positions::Learned { .. } => 0,
        };
        let table = || self.table(&[1, self.queries, 1, rotated / 2], TABLE);
        Sight {
            rotation: (rotated > 0).then(|| [table(), table()]),
            rotated,
            bias: (self.queries > 1)
                .then(|| self.table(&[1, 1, 1, self.queries, self.filled], TABLE)),
        }
    }

    /// Output states of all blocks, `[rows·queries, output width]`.
    pub(crate) fn hidden(&self, cache: Option<&mut Cache>) -> Var {
        let sight = self.sight();
        let x = self.embed();
        let x = self.blocks(0..self.trunk.blocks.len(), x, &sight, cache);
        self.finish(x)
    }

    pub(crate) fn embed(&self) -> Var {
        let n = self.rows.saturating_mul(self.queries);
        let _ids = self.index(n);
        let mut x = self.store.held(self.trunk.embedding, self.graph).select(n).cast(self.width());
        if self.architecture.embedding_scale.is_some() {
            x = x.scale();
        }
        if let Some(project) = self.trunk.project_in {
            x = x.matmul(self.weight(project));
        }
        let Some(table) = self.trunk.positions else { return x };
        let _places = self.index(self.queries);
        let learned = self.weight(table).select(self.queries);
        let hidden = learned.dims()[1];
        if self.queries == n {
            return x.add(learned);
        }
        let x = x.reshape(&[self.rows, self.queries, hidden]);
        x.add(learned.reshape(&[1, self.queries, hidden])).reshape(&[n, hidden])
    }

    pub(crate) fn blocks(
        &self,
        range: std::ops::Range<usize>,
        mut x: Var,
        sight: &Sight,
        mut cache: Option<&mut Cache>,
    ) -> Var {
        for index in range {
            x = self.block(index, x, sight, cache.as_deref_mut());
        }
        x
    }

    pub(crate) fn finish(&self, mut x: Var) -> Var {
        if let Some(norm) = &self.trunk.norm {
            x = self.norm(norm, x);
        }
        match self.trunk.project_out {
            Some(out) => x.matmul(self.weight(out)),
            None => x,
        }
    }

    /// Logits of states, `[n, output width]` → `[n, V]`.
    pub(crate) fn logits(&self, states: Var) -> Var {
        let logits = match self.trunk.head {
            Some(head) => states.matmul(self.weight(head)),
            None => states.matmul(self.weight(self.trunk.embedding).transpose()),
        };
        softcap(logits, self.architecture.logit_softcap.is_some())
    }
}

impl Cache {
    /// Writes the new part in place and returns views of all that is filled.
    pub(super) fn append(&mut self, block: usize, k: Var, v: Var) -> (Var, Var) {
        let to = self.filled + k.dims()[1];
        let mut write = |which: usize, new: Flat| {
            let Some(slot) = self.slots[block].as_mut() else { return new };
            drop(new.contiguous());
            slot[which].clone().narrow(1, 0, to)
        };
        let keys = write(0, k.flat);
        let values = write(1, v.flat);
        (Var::constant(keys), Var::constant(values))
    }
}
