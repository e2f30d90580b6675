use crate::weights::weight;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hydralign_core::Gradient;

/// A projection xW + b.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[in, out]`.
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// `[n, in]` → `[n, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>, gradient: Gradient) -> Tensor<2> {
        let y = x.matmul(weight(&self.weight, gradient));
        match &self.bias {
            Some(bias) => y.add(weight(bias, gradient).unsqueeze()),
            None => y,
        }
    }
}
