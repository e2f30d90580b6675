use crate::{MemoryError, count, format_bytes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What bytes are held for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Trunks with their LM heads.
    Weights,
    /// Low-rank adapters, trained or frozen.
    Adapters,
    /// Scalar heads of critic and reward model.
    Heads,
    /// One gradient per trained parameter.
    Gradients,
    /// Moments of the optimizer.
    Optimizer,
    /// What the graphs keep of the forward passes.
    Activations,
    /// What lives for a moment: passes without a graph, steps of the backward pass and of the
    /// optimizer, packing buffers.
    #[default]
    Workspace,
    /// Scores over the vocabulary and what is derived from them.
    Logits,
    /// Keys and values of what was read so far.
    KvCache,
    /// Tokens and per-token numbers of the batch, on the host.
    Experience,
    /// A copy of what is trained, while a checkpoint is written.
    Checkpoint,
    /// What the tensor library holds on the host for parameters, optimizer states and graph nodes
    /// beside their tensors.
    Bookkeeping,
}

impl Category {
    /// Every category, in the order in which tables list them.
    pub const ALL: [Category; 12] = [
        Category::Weights,
        Category::Adapters,
        Category::Heads,
        Category::Gradients,
        Category::Optimizer,
        Category::Activations,
        Category::Workspace,
        Category::Logits,
        Category::KvCache,
        Category::Experience,
        Category::Checkpoint,
        Category::Bookkeeping,
    ];

    /// The lower-case name that files and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Category::Weights => "weights",
            Category::Adapters => "adapters",
            Category::Heads => "heads",
            Category::Gradients => "gradients",
            Category::Optimizer => "optimizer",
            Category::Activations => "activations",
            Category::Workspace => "workspace",
            Category::Logits => "logits",
            Category::KvCache => "kv_cache",
            Category::Experience => "experience",
            Category::Checkpoint => "checkpoint",
            Category::Bookkeeping => "bookkeeping",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bytes held at once, by category; what is absent is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Footprint {
    bytes: BTreeMap<Category, u64>,
    #[serde(skip)]
    total: u64,
}

impl Footprint {
    /// A footprint of these categories; a category that is named twice adds up.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`] if the total does not fit into 64 bits.
    pub fn new(parts: impl IntoIterator<Item = (Category, u64)>) -> Result<Self, MemoryError> {
        let mut footprint = Self::default();
        for (category, bytes) in parts {
            footprint.total = count::sum("a phase", &[footprint.total, bytes])?;
            if bytes > 0 {
                // Never above the total, which is known to fit.
                *footprint.bytes.entry(category).or_default() += bytes;
            }
        }
        Ok(footprint)
    }

    /// Bytes of one category.
    pub fn get(&self, category: Category) -> u64 {
        self.bytes.get(&category).copied().unwrap_or(0)
    }

    /// Σ over the categories.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The categories that hold anything, in table order.
    pub fn iter(&self) -> impl Iterator<Item = (Category, u64)> + '_ {
        self.bytes.iter().map(|(&category, &bytes)| (category, bytes))
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (category, bytes) in self.iter() {
            writeln!(f, "{category:<12} {:>12}", format_bytes(bytes))?;
        }
        write!(f, "{:<12} {:>12}", "total", format_bytes(self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_checked_and_the_parts_add_up() {
        let parts = [(Category::Weights, 5), (Category::Heads, 0), (Category::Weights, 7)];
        let footprint = Footprint::new(parts).unwrap();
        assert_eq!(footprint.get(Category::Weights), 12);
        assert_eq!(footprint.total(), 12);
        assert_eq!(footprint.iter().collect::<Vec<_>>(), [(Category::Weights, 12)]);
        let over = [(Category::Weights, u64::MAX), (Category::Heads, 1)];
        assert!(matches!(Footprint::new(over), Err(MemoryError::Overflow { .. })));
    }

    #[test]
    fn tables_are_aligned() {
        let parts = [(Category::KvCache, 3 << 20), (Category::Weights, 1 << 31)];
        let table = Footprint::new(parts).unwrap().to_string();
        assert_eq!(
            table,
            "weights          2.00 GiB\nkv_cache         3.00 MiB\ntotal            2.00 GiB"
        );
    }
}
