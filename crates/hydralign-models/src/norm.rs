use crate::weights::weight;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hydralign_core::Gradient;
use hydralign_families::{Architecture, NormKind};

/// The weights of a norm over the last dimension.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Norm {
    /// The norm that the architecture names; see [`NormKind`] for the equations.
    ///
    /// # Shapes
    /// `x`: `[…, size]`, the same out.
    pub(crate) fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        architecture: &Architecture,
        gradient: Gradient,
    ) -> Tensor<D> {
        let last = D - 1;
        let x = match architecture.norm {
            NormKind::Layer => x.clone().sub(x.mean_dim(last)),
            NormKind::Rms | NormKind::RmsPlusOne => x,
        };
        let variance = x.clone().square().mean_dim(last);
        let scale = variance.add_scalar(architecture.norm_eps).sqrt().recip();
        let gamma = weight(&self.weight, gradient);
        let gamma = match architecture.norm {
            NormKind::RmsPlusOne => gamma.add_scalar(1.0),
            NormKind::Rms | NormKind::Layer => gamma,
        };
        let y = x.mul(scale).mul(gamma.unsqueeze());
        match &self.bias {
            Some(bias) => y.add(weight(bias, gradient).unsqueeze()),
            None => y,
        }
    }
}
