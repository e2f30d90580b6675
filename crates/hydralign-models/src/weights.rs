use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, FloatDType, Tensor};
use hydralign_core::Gradient;

/// A weight as a pass sees it: with its graph, or as a constant; in f32.
pub(crate) fn weight<const D: usize>(param: &Param<Tensor<D>>, gradient: Gradient) -> Tensor<D> {
    widened(held(param, gradient))
}

/// A weight in the number type that it is held in.
pub(crate) fn held<const D: usize>(param: &Param<Tensor<D>>, gradient: Gradient) -> Tensor<D> {
    match gradient {
        Gradient::On => param.val(),
        Gradient::Off => param.val().without_autodiff(),
    }
}

/// The same numbers in f32. A tensor of another type is copied.
pub(crate) fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 => x,
        _ => x.cast(FloatDType::F32),
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

/// A copy in f32 with storage and identity of its own, so that training one never touches the other.
pub(crate) fn duplicate<M: Module>(module: &M, trainable: bool) -> M {
    struct Duplicate(bool);
    impl ModuleMapper for Duplicate {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let value = param.val().without_autodiff();
            let device = value.device();
            // Data of any type becomes the device's own, which is f32.
            parameter(Tensor::from_data(value.into_data(), &device), self.0)
        }
    }
    module.clone().map(&mut Duplicate(trainable))
}

/// The same frozen values under an identity of their own, without a copy.
pub(crate) fn share<M: Module>(module: &M) -> M {
    struct Share;
    impl ModuleMapper for Share {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            parameter(param.val(), false)
        }
    }
    module.clone().map(&mut Share)
}
