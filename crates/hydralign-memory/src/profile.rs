use crate::MemoryError;
use serde::{Deserialize, Serialize};

/// What a backend holds beside the tensors that a program names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name for tables.
    pub name: String,
    /// How much of a layer is one operation.
    pub kernels: Kernels,
    /// What the library keeps on the host.
    pub bookkeeping: Bookkeeping,
    /// How matrix products copy their operands, if they do.
    pub packing: Option<Packing>,
}

impl Profile {
    /// burn-flex 0.22, the CPU backend, on a processor with AVX-512 and `threads` threads.
    pub fn flex(threads: usize) -> Self {
        Self {
            name: "flex".to_owned(),
            kernels: Kernels::Separate,
            bookkeeping: Bookkeeping::burn(),
            packing: Some(Packing::avx512(threads as u64)),
        }
    }

    /// PyTorch in eager mode, as Megatron-LM's accounting has it (Korthikanti et al. 2022, §4.1): the
    /// tensors of the graph, and nothing of what the library holds beside them.
    pub fn eager(dropout: bool) -> Self {
        Self {
            name: "eager".to_owned(),
            kernels: Kernels::Fused { dropout },
            bookkeeping: Bookkeeping::default(),
            packing: None,
        }
    }

    /// Checks that what is divided by is not zero.
    ///
    /// # Errors
    /// [`MemoryError::Zero`].
    pub fn validate(&self) -> Result<(), MemoryError> {
        let Some(packing) = &self.packing else { return Ok(()) };
        let fields = [
            ("tile_rows", packing.tile_rows),
            ("tile_columns", packing.tile_columns),
            ("lanes", packing.lanes),
            ("threads", packing.threads),
        ];
        match fields.iter().find(|(_, n)| *n == 0) {
            Some(&(field, _)) => Err(MemoryError::Zero { field }),
            None => Ok(()),
        }
    }
}

/// How much of a layer is one operation, and so what its graph keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernels {
    /// Norms, activations and softmax are made of element-wise operations and reductions, each with
    /// its own place in the graph: burn.
    #[default]
    Separate,
    /// Each of them is one operation. A norm keeps its input and a 32-bit statistic or two a row, an
    /// activation its input (ReLU its result), a softmax its result: PyTorch.
    Fused {
        /// Whether training drops probabilities and the outputs of both halves of a block, for which
        /// a mask of one byte a number is kept.
        dropout: bool,
    },
}

/// Bytes on the host beside the tensors themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bookkeeping {
    /// Of a parameter that is not trained.
    pub frozen: u64,
    /// Of a trained parameter.
    pub trained: u64,
    /// Of a trained parameter's optimizer state.
    pub state: u64,
    /// Of a gradient.
    pub gradient: u64,
    /// Of an operation in a graph: its node, its step and the entries of what it keeps.
    pub operation: u64,
    /// Of a trained parameter in a checkpoint: the names of its tensors and the places where they stand.
    pub record: u64,
}

impl Bookkeeping {
    /// burn 0.22: what remained, per piece, between models of 16 and 32 blocks whose tensors hold a few
    /// bytes each.
    pub fn burn() -> Self {
        let (frozen, trained, state) = (1_100, 1_750, 1_300);
        Self { frozen, trained, state, gradient: 400, operation: 660, record: 470 }
    }
}

/// The packing buffers of the `gemm` crate 0.19 (gemm-common, `gemm.rs` and `cache.rs`).
///
/// With a row-major result it computes the transposed product: what is on the right is its left operand.
/// The copies are of `kc` rows at a time, k cut into equal parts of up to 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packing {
    /// Rows of the micro-kernel's tile.
    pub tile_rows: u64,
    /// Columns of the micro-kernel's tile.
    pub tile_columns: u64,
    /// Numbers of a vector register.
    pub lanes: u64,
    /// Threads that multiply matrices of a batch at once.
    pub threads: u64,
}

/// A product `[m, k]` × `[k, n]`, and whether the rows of its operands are contiguous.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) m: u64,
    pub(crate) k: u64,
    pub(crate) n: u64,
    pub(crate) left_rows: bool,
    pub(crate) right_rows: bool,
    /// Products of a batch.
    pub(crate) batch: u64,
}

/// Most rows that are packed at once.
const MOST_ROWS: u64 = 512;
/// Tiles of the operand on the left of the transposed product that a core's cache holds.
const TILES: u64 = 8;
/// Columns beyond which contiguous rows are packed as well, in tiles.
const MANY_TILES: u64 = 128;
/// Operations from which the products of a batch are shared out over the threads (burn-flex,
/// `ops/matmul.rs`).
const PARALLEL: u64 = 128 * 128 * 128;

impl Packing {
    /// 64 × 6 tiles of 16 lanes.
    pub fn avx512(threads: u64) -> Self {
        Self { tile_rows: 64, tile_columns: 6, lanes: 16, threads }
    }

    /// Bytes of the copies that one product makes of operands with numbers of `width` bytes.
    pub(crate) fn bytes(&self, product: Product, width: u64) -> Option<u64> {
        let Product { m, k, n, left_rows, right_rows, batch } = product;
        if k <= 2 || m <= 1 || n <= 1 {
            return Some(0);
        }
        let rows = k.div_ceil(k.div_ceil(MOST_ROWS));
        let tiles = |count: u64| self.tile_rows.saturating_mul(count);
        let most = tiles(2 * TILES);
        let pack = match left_rows {
            true => n > tiles(MANY_TILES),
            false => n > tiles(2),
        };
        let prepack = n <= most && (!n.is_multiple_of(self.lanes) || !right_rows);
        let columns = if pack { m.checked_next_multiple_of(self.tile_columns)? } else { 0 };
        let more = if prepack { n.checked_next_multiple_of(self.tile_rows)? } else { 0 };
        let one = rows.checked_mul(columns.checked_add(more)?)?.checked_mul(width)?;
        let work = batch.saturating_mul(m).saturating_mul(n).saturating_mul(k);
        let at_once = if work >= PARALLEL { batch.min(self.threads) } else { 1 };
        one.checked_mul(at_once)
    }
}
