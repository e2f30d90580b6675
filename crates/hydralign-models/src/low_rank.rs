use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hydralign_core::Gradient;

/// A weight as a pass sees it: with its graph, or as a constant.
pub(crate) fn weight<const D: usize>(param: &Param<Tensor<D>>, gradient: Gradient) -> Tensor<D> {
    match gradient {
        Gradient::On => param.val(),
        Gradient::Off => param.val().without_autodiff(),
    }
}

/// A parameter that is trained, or a frozen constant that autodiff never sees.
pub(crate) fn parameter<const D: usize>(value: Tensor<D>, trainable: bool) -> Param<Tensor<D>> {
    let value = value.without_autodiff();
    if trainable {
        Param::from_tensor(value.autodiff())
    } else {
        Param::from_tensor(value).set_require_grad(false)
    }
}

/// A copy with storage and identity of its own, so that training one never touches the other.
pub(crate) fn duplicate<const D: usize>(
    param: &Param<Tensor<D>>,
    trainable: bool,
) -> Param<Tensor<D>> {
    let value = param.val().without_autodiff();
    let device = value.device();
    parameter(Tensor::from_data(value.into_data(), &device), trainable)
}

/// One low-rank pair, A `[in, r]` and B `[r, out]`.
#[derive(Module, Debug)]
pub(crate) struct LowRank {
    pub(crate) a: Param<Tensor<2>>,
    pub(crate) b: Param<Tensor<2>>,
}

impl LowRank {
    /// s·(xA)B: the path of rank r, never the dense product AB.
    ///
    /// # Shapes
    /// `x`: `[n, in]` → `[n, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>, scale: f64, gradient: Gradient) -> Tensor<2> {
        let down = x.matmul(weight(&self.a, gradient)).mul_scalar(scale);
        down.matmul(weight(&self.b, gradient))
    }

    /// s·AB, for merging. `[in, out]`.
    pub(crate) fn dense(&self, scale: f64) -> Tensor<2> {
        let a = weight(&self.a, Gradient::Off);
        a.matmul(weight(&self.b, Gradient::Off)).mul_scalar(scale)
    }

    pub(crate) fn duplicate(&self, trainable: bool) -> Self {
        Self { a: duplicate(&self.a, trainable), b: duplicate(&self.b, trainable) }
    }
}
