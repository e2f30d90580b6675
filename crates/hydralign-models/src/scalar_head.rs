use crate::ModelError;
use crate::init::normal;
use crate::weights::{duplicate, parameter, weight};
use burn::module::{Module, ModuleDisplay, Param};
use burn::tensor::{Device, Tensor, TensorData};
use hydralign_core::Gradient;

/// A critic's head: what makes one number of each output state of its trunk.
///
/// Every parameter that tracks gradients is trained, and is a part of the run's checkpoints. Heads of several layers
/// are built on a device with autodiff, as `LinearConfig::new(h, h).init(&device.autodiff())`.
pub trait ValueHead: Module + ModuleDisplay {
    /// Length of the output states that it reads.
    fn width(&self) -> usize;

    /// One number per output state: `[n, hidden]` → `[n]`. With [`Gradient::Off`] the answer need not be tracked;
    /// where it is, its graph is dropped.
    fn forward(&self, hidden: Tensor<2>, gradient: Gradient) -> Tensor<1>;
}

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

    /// A head of given weights, one for each number of a hidden state.
    ///
    /// # Errors
    /// [`ModelError::HeadWeights`] for weights that are none or not finite.
    pub fn from_weights(
        weights: Vec<f32>,
        trainable: bool,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let hidden = weights.len();
        if hidden == 0 || weights.iter().any(|w| !w.is_finite()) {
            return Err(ModelError::HeadWeights { count: hidden });
        }
        let device = device.clone().without_autodiff();
        let weight = Tensor::from_data(TensorData::new(weights, [hidden, 1]), &device);
        Ok(Self::new(weight, trainable))
    }

    /// A copy with storage and identity of its own.
    pub fn duplicate(&self, trainable: bool) -> Self {
        duplicate(self, trainable)
    }
}

impl ValueHead for ScalarHead {
    fn width(&self) -> usize {
        self.weight.dims()[0]
    }

    fn forward(&self, hidden: Tensor<2>, gradient: Gradient) -> Tensor<1> {
        let n = hidden.dims()[0];
        hidden.matmul(weight(&self.weight, gradient)).reshape([n])
    }
}
