use burn::tensor::{Gradients, Tensor};
use hydralign_core::Gradient;

/// A piece of a chain of maps from states to states: some blocks of a decoder.
pub trait Segment {
    /// The states after it, `[n, in]` → `[n, out]`. With [`Gradient::On`] its own trained
    /// weights are tracked.
    fn run(&self, x: Tensor<2>, gradient: Gradient) -> Tensor<2>;
}

/// A chain that was run without a graph and can still be differentiated, because the input of
/// each segment was kept (Chen et al. 2016, §4.1).
///
/// Unlike the checkpointing of operations that tensor libraries offer, nothing inside a segment
/// is kept, matrix products and attention included.
pub struct Segments<S> {
    segments: Vec<S>,
    /// What each segment read.
    inputs: Vec<Tensor<2>>,
}

impl<S: Segment> Segments<S> {
    /// Runs the segments one after the other and returns the last one's output, untracked.
    pub fn run(segments: Vec<S>, x: Tensor<2>) -> (Tensor<2>, Self) {
        let mut inputs = Vec::with_capacity(segments.len());
        let mut x = x.without_autodiff();
        for segment in &segments {
            inputs.push(x.clone());
            x = segment.run(x, Gradient::Off);
        }
        (x, Self { segments, inputs })
    }

    /// From the gradient of the output to that of the input, last segment first: each is run
    /// again with a graph, differentiated and forgotten.
    ///
    /// y = f(x; θ):  ∂L/∂x = (∂y/∂x)ᵀ ∂L/∂y,  ∂L/∂θ = (∂y/∂θ)ᵀ ∂L/∂y, both as the gradient of
    /// Σ y ⊙ ∂L/∂y with ∂L/∂y held fixed.
    ///
    /// `take` is handed the gradients of each segment's weights. Where `to_input` is false, the
    /// first segment's input is a constant and nothing is returned.
    ///
    /// # Bytes
    /// Beside what `take` keeps: the inputs of the segments that are still to come, one
    /// segment's graph and two tensors of its output's size.
    pub fn backward(
        self,
        gradient: Tensor<2>,
        to_input: bool,
        mut take: impl FnMut(Gradients),
    ) -> Option<Tensor<2>> {
        let Self { mut segments, mut inputs } = self;
        let mut gradient = gradient.without_autodiff();
        while let (Some(segment), Some(input)) = (segments.pop(), inputs.pop()) {
            let leaf = input.autodiff().set_require_grad(to_input || !inputs.is_empty());
            let y = segment.run(leaf.clone(), Gradient::On);
            if !y.is_tracked() {
                return None;
            }
            let mut gradients = y.mul(gradient).sum().backward();
            let below = leaf.grad_remove(&mut gradients);
            take(gradients);
            gradient = below?;
        }
        to_input.then_some(gradient)
    }
}
