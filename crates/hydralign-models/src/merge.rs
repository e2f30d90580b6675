use crate::files::StoredDtype;
use crate::weights::{parameter, share, weight};
use crate::{Adapter, ModelError, Trunk};
use hydralign_core::Gradient;

impl Trunk {
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
                linear.weight = parameter(weight(&linear.weight, Gradient::Off).add(dense), false);
            }
        }
        Ok(merged)
    }
}
