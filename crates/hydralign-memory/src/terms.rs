use crate::count::Counts;
use crate::{MemoryError, Workload};
use hydralign_placement::{LoraShape, ModelShape, Placement};

/// The terms of a placement's bytes that are plain equations.
///
/// Terms are in bytes. N is the parameters of a trunk, r those of an adapter, h the hidden size, V the
/// vocabulary, L the blocks, b the bytes of the workload's `frozen_dtype`, b′ those of its
/// `trained_dtype` and c those of its `compute_dtype`.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub(crate) placement: &'a Placement,
    pub(crate) shape: &'a ModelShape,
    pub(crate) workload: &'a Workload,
    pub(crate) counts: Counts,
}

impl<'a> Terms<'a> {
    /// Checks the parts against themselves and each other. The placement may be one of reading alone,
    /// with nothing to train.
    ///
    /// # Errors
    /// [`MemoryError::Placement`], [`MemoryError::Zero`], [`MemoryError::PartExceedsWhole`],
    /// [`MemoryError::UnevenHeads`], [`MemoryError::Overflow`].
    pub fn new(
        placement: &'a Placement,
        shape: &'a ModelShape,
        lora: &'a LoraShape,
        workload: &'a Workload,
    ) -> Result<Self, MemoryError> {
        placement.check()?;
        check_shape(shape)?;
        if !placement.adapters.is_empty() && lora.rank == 0 {
            return Err(MemoryError::Zero { field: "rank" });
        }
        workload.validate()?;
        let counts = Counts::new(shape, lora)?;
        Ok(Self { placement, shape, workload, counts })
    }

    /// Every sum once, so that what follows is known to fit.
    pub(crate) fn check(&self) -> Result<(), MemoryError> {
        self.weights()?;
        self.adapters()?;
        self.heads()?;
        self.gradients()?;
        self.optimizer()?;
        self.kv_cache().map(drop)
    }
}

fn check_shape(shape: &ModelShape) -> Result<(), MemoryError> {
    let fields = [
        ("vocab", shape.vocab),
        ("hidden", shape.hidden),
        ("intermediate", shape.intermediate),
        ("layers", shape.layers),
        ("heads", shape.heads),
        ("kv_heads", shape.kv_heads),
        ("head_dim", shape.head_dim),
    ];
    if let Some(&(field, _)) = fields.iter().find(|(_, n)| *n == 0) {
        return Err(MemoryError::Zero { field });
    }
    let (heads, kv_heads) = (shape.heads, shape.kv_heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(MemoryError::UnevenHeads { heads, kv_heads });
    }
    Ok(())
}
