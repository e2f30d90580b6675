use crate::weights::weight;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hydralign_core::Gradient;

/// One low-rank pair, A `[in, r]` and B `[r, out]`.
#[derive(Module, Debug)]
pub(crate) struct LowRank {
    pub(crate) a: Param<Tensor<2>>,
    pub(crate) b: Param<Tensor<2>>,
    #[module(skip)]
    pub(crate) alpha: f64,
    /// s = α/r, or α/√r when rank-stabilised.
    #[module(skip)]
    pub(crate) scale: f64,
}

impl LowRank {
    pub(crate) fn rank(&self) -> usize {
        self.a.val().dims()[1]
    }

    /// s·(xA)B: the path of rank r, never the dense product AB.
    ///
    /// # Shapes
    /// `x`: `[n, in]` → `[n, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>, gradient: Gradient) -> Tensor<2> {
        let down = x.matmul(weight(&self.a, gradient)).mul_scalar(self.scale);
        down.matmul(weight(&self.b, gradient))
    }

    /// s·AB, for merging. `[in, out]`.
    pub(crate) fn dense(&self) -> Tensor<2> {
        let a = weight(&self.a, Gradient::Off);
        a.matmul(weight(&self.b, Gradient::Off)).mul_scalar(self.scale)
    }
}
