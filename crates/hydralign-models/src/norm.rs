use crate::low_rank::weight;
use burn::module::Param;
use burn::tensor::Tensor;
use hydralign_core::Gradient;

/// Root-mean-square norm (Zhang & Sennrich 2019): y = x / √(mean x² + ε) · γ.
///
/// # Shapes
/// `x`: `[n, hidden]`, γ: `[hidden]`.
pub(crate) fn rms_norm(
    x: Tensor<2>,
    gamma: &Param<Tensor<1>>,
    eps: f64,
    gradient: Gradient,
) -> Tensor<2> {
    let scale = x.clone().square().mean_dim(1).add_scalar(eps).sqrt().recip();
    x.mul(scale).mul(weight(gamma, gradient).unsqueeze())
}
