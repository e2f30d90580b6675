use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales all gradients together so that their joint L2 norm is at most `max_norm`, and returns
/// the norm from before.
///
/// g ← g · min(1, max_norm / (‖g‖ + 10⁻⁶)), ‖g‖ over *all* parameters at once. With `None` the
/// norm is only measured.
///
/// Source: Pascanu et al. 2013; `torch.nn.utils.clip_grad_norm_`. burn's own clipping works
/// tensor by tensor, which changes the direction of the step.
pub fn clip_global_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    max_norm: Option<f64>,
) -> (GradientsParams, f64) {
    let mut squares = Squares { gradients: &gradients, sum: None };
    module.visit(&mut squares);
    let norm = squares.sum.map_or(0.0, |s| f64::from(s.into_scalar::<f32>()).sqrt());
    let factor = max_norm.map_or(1.0, |max| max / (norm + 1e-6));
    if factor >= 1.0 || !norm.is_finite() {
        return (gradients, norm);
    }
    let mut scale = Scale { gradients, factor };
    module.visit(&mut scale);
    (scale.gradients, norm)
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum.add(square),
                None => square,
            });
        }
    }
}

struct Scale {
    gradients: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.mul_scalar(self.factor));
        }
    }
}
