use crate::files::StoredDtype;
use crate::weights::{parameter, weight, widened};
use crate::{ModelBank, ModelError, Trunk, ValueHead};
use burn::module::Param;
use burn::tensor::{FloatDType, Tensor};
use hydralign_core::Gradient;

impl<V: ValueHead> ModelBank<V> {
    /// The same bank with the matrices of its frozen trunks held in another number type: in 16 bits
    /// they take half the bytes.
    ///
    /// That is the projections of the blocks, and the embedding where it is not the head as well. Norms,
    /// biases, heads, adapters and everything that is trained stay f32. Each matrix is copied to f32
    /// where it is used, so that passes compute as before: a checkpoint stored in this type gives the
    /// same numbers to the last bit, at the price of one copy of each matrix a pass. The graph of a
    /// differentiated pass keeps those copies; by segments
    /// ([`with_execution`](Self::with_execution)), those of one segment.
    ///
    /// The trunk is then saved in this type. What [`checkpoint`](Self::checkpoint) copies is f32 again.
    ///
    /// # Errors
    /// [`ModelError::Narrowing`] for a matrix with a number too large for the type.
    pub fn with_frozen_dtype(mut self, dtype: StoredDtype) -> Result<Self, ModelError> {
        for (trunk, spec) in self.trunks.iter_mut().zip(&self.placement.trunks) {
            if !spec.trainable {
                trunk.hold_as(dtype)?;
            }
        }
        Ok(self)
    }
}

impl Trunk {
    /// Holds the matrices that are not a head in this type, one after the other.
    fn hold_as(&mut self, dtype: StoredDtype) -> Result<(), ModelError> {
        if !self.architecture.shape.tied {
            narrow(&mut self.embedding, dtype)?;
        }
        for linear in self.blocks.iter_mut().flat_map(|b| &mut b.projections) {
            narrow(&mut linear.weight, dtype)?;
        }
        self.dtype = dtype;
        Ok(())
    }
}

fn narrow(param: &mut Param<Tensor<2>>, dtype: StoredDtype) -> Result<(), ModelError> {
    let wide = weight(param, Gradient::Off);
    let narrow = wide.clone().cast(match dtype {
        StoredDtype::F32 => FloatDType::F32,
        StoredDtype::F16 => FloatDType::F16,
        StoredDtype::Bf16 => FloatDType::BF16,
    });
    if is_finite(wide) && !is_finite(widened(narrow.clone())) {
        return Err(ModelError::Narrowing { dtype: dtype.name() });
    }
    *param = parameter(narrow, false);
    Ok(())
}

fn is_finite(x: Tensor<2>) -> bool {
    x.abs().max().into_data().iter::<f32>().all(f32::is_finite)
}
