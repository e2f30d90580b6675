use crate::init::normal;
use crate::weights::{duplicate, parameter, weight};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use hydralign_core::Gradient;

/// A linear map from a hidden state to one number: reward or value. No bias, as in
/// `LlamaForSequenceClassification`'s `score`.
#[derive(Module, Debug)]
pub struct ScalarHead {
    pub(crate) weight: Param<Tensor<2>>,
}

impl ScalarHead {
    /// A fresh head: normal with standard deviation 1/√(h + 1) (Huang et al. 2024, detail of
    /// the reward head).
    pub fn fresh(hidden: usize, trainable: bool, seed: u64, device: &Device) -> Self {
        let std = 1.0 / ((hidden + 1) as f64).sqrt();
        Self::new(normal([hidden, 1], std, seed, 0, device), trainable)
    }

    pub(crate) fn new(weight: Tensor<2>, trainable: bool) -> Self {
        Self { weight: parameter(weight, trainable) }
    }

    /// One number per hidden state: `[n, hidden]` → `[n]`.
    pub(crate) fn forward(&self, hidden: Tensor<2>, gradient: Gradient) -> Tensor<1> {
        let n = hidden.dims()[0];
        hidden.matmul(weight(&self.weight, gradient)).reshape([n])
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        duplicate(self, trainable)
    }
}
