//! The segmented backward pass against that of the whole graph.
#![cfg(not(miri))]

use burn::module::{Module, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use hydralign_core::Gradient;
use hydralign_core::random::uniform;
use hydralign_kernels::{Segment, Segments};

/// x + tanh(xW), a step of a residual stream.
#[derive(Module, Debug)]
struct Step {
    weight: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Stack {
    steps: Vec<Step>,
}

fn draw(stream: u64, dims: [usize; 2]) -> Tensor<2> {
    let values: Vec<f32> = (0..(dims[0] * dims[1]) as u64)
        .map(|i| (2.0 * uniform(5, stream, i) - 1.0) as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

impl Stack {
    fn new(steps: usize, trained: impl Fn(usize) -> bool) -> Self {
        let step = |i: usize| {
            let weight = draw(i as u64, [3, 3]);
            Step {
                weight: match trained(i) {
                    true => Param::from_tensor(weight.autodiff()),
                    false => Param::from_tensor(weight).set_require_grad(false),
                },
            }
        };
        Self { steps: (0..steps).map(step).collect() }
    }

    fn segments(&self, size: usize) -> Vec<Part<'_>> {
        self.steps.chunks(size).map(Part).collect()
    }
}

struct Part<'a>(&'a [Step]);

impl Segment for Part<'_> {
    fn run(&self, x: Tensor<2>, gradient: Gradient) -> Tensor<2> {
        self.0.iter().fold(x, |x, step| {
            let weight = match gradient {
                Gradient::On => step.weight.val(),
                Gradient::Off => step.weight.val().without_autodiff(),
            };
            x.clone().add(x.matmul(weight).tanh())
        })
    }
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Output, gradient of the input and those of the weights, by the whole graph.
fn whole(stack: &Stack, x: &Tensor<2>, slope: &Tensor<2>) -> (Vec<f32>, Vec<f32>, GradientsParams) {
    let leaf = x.clone().autodiff().require_grad();
    let y = Part(&stack.steps).run(leaf.clone(), Gradient::On);
    let out = host(y.clone());
    let mut gradients = y.mul(slope.clone()).sum().backward();
    let below = leaf.grad_remove(&mut gradients).unwrap();
    (out, host(below), GradientsParams::from_grads(gradients, stack))
}

fn assert_close(got: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-6 * scale, "{a} instead of {b}");
    }
}

#[test]
fn every_split_gives_the_gradients_of_the_whole() {
    let stack = Stack::new(5, |i| i != 2);
    let (x, slope) = (draw(90, [4, 3]), draw(91, [4, 3]));
    let (out, below, weights) = whole(&stack, &x, &slope);
    for size in [1, 2, 3, 5, 9] {
        let (y, segments) = Segments::run(stack.segments(size), x.clone());
        assert!(!y.is_autodiff());
        assert_eq!(host(y), out);
        let mut sum = GradientsAccumulator::new();
        let mut calls = 0;
        let got = segments.backward(slope.clone(), true, |gradients| {
            calls += 1;
            sum.accumulate(&stack, GradientsParams::from_grads(gradients, &stack));
        });
        assert_eq!(calls, stack.steps.len().div_ceil(size));
        assert_close(&host(got.unwrap()), &below);
        let sum = sum.grads();
        assert_eq!(sum.len(), 4, "the frozen step has no gradient");
        for step in &stack.steps {
            let pair = (sum.get::<2>(step.weight.id), weights.get::<2>(step.weight.id));
            let (Some(got), Some(expected)) = pair else { continue };
            assert_close(&host(got), &host(expected));
        }
    }
}

#[test]
fn a_constant_input_costs_no_gradient() {
    let (x, slope) = (draw(90, [4, 3]), draw(91, [4, 3]));
    // The first segment holds nothing that is trained: it is not differentiated at all.
    let stack = Stack::new(3, |i| i > 0);
    let (_, segments) = Segments::run(stack.segments(1), x.clone());
    let mut found = Vec::new();
    let below = segments.backward(slope.clone(), false, |gradients| {
        found.push(GradientsParams::from_grads(gradients, &stack).len());
    });
    assert!(below.is_none());
    assert_eq!(found, [1, 1]);
    // Nothing trained anywhere: what lies before the chain still gets its gradient.
    let frozen = Stack::new(3, |_| false);
    let (_, segments) = Segments::run(frozen.segments(2), x.clone());
    let below = segments.backward(slope.clone(), true, |_| ()).unwrap();
    assert_close(&host(below), &whole(&frozen, &x, &slope).1);
}
