use crate::init::uniform;
use crate::linear::Linear;
use crate::weights::{duplicate, parameter, weight};
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use hydralign_core::random::sub_seed;
use hydralign_core::{ActionHead, Gradient};

/// A perceptron from a hidden state to a value for every token of the vocabulary: Linear(h, 2h), ReLU,
/// Linear(2h, V), as in trlX's `make_head`.
#[derive(Module, Debug)]
pub struct ActionValues {
    up: Linear,
    down: Linear,
}

impl ActionValues {
    /// Weights and biases uniform in ±1/√(fan-in), which is torch's default.
    fn fresh(hidden: usize, vocab: usize, seed: u64, device: &Device) -> Self {
        let linear = |rows: usize, columns: usize, name: &str| {
            let bound = 1.0 / (rows as f64).sqrt();
            let seed = sub_seed(seed, name);
            let weight = uniform([rows, columns], bound, seed, 0, device);
            let bias = uniform([columns], bound, seed, 1, device);
            Linear { weight: parameter(weight, true), bias: Some(parameter(bias, true)) }
        };
        Self { up: linear(hidden, 2 * hidden, "up"), down: linear(2 * hidden, vocab, "down") }
    }

    /// `[n, hidden]` → `[n, vocab]`.
    pub(crate) fn forward(&self, hidden: Tensor<2>, gradient: Gradient) -> Tensor<2> {
        self.down.forward(relu(self.up.forward(hidden, gradient)), gradient)
    }
}

/// Two action-value heads and their slowly following copies: what offline Q-learning needs (Snell et
/// al. 2022).
#[derive(Module, Debug)]
pub struct ActionHeads {
    first: ActionValues,
    second: ActionValues,
    first_target: ActionValues,
    second_target: ActionValues,
}

impl ActionHeads {
    /// Fresh heads; the copies begin as what they follow.
    pub(crate) fn fresh(hidden: usize, vocab: usize, seed: u64, device: &Device) -> Self {
        let head = |name| ActionValues::fresh(hidden, vocab, sub_seed(seed, name), device);
        let (first, second) = (head("first action head"), head("second action head"));
        let (first_target, second_target) = (duplicate(&first, false), duplicate(&second, false));
        Self { first, second, first_target, second_target }
    }

    pub(crate) fn head(&self, head: ActionHead) -> &ActionValues {
        match head {
            ActionHead::First => &self.first,
            ActionHead::Second => &self.second,
            ActionHead::FirstTarget => &self.first_target,
            ActionHead::SecondTarget => &self.second_target,
        }
    }

    /// The lesser of the two copies' values of every token, `[n, vocab]`.
    pub(crate) fn least_target(&self, hidden: Tensor<2>) -> Tensor<2> {
        let first = self.first_target.forward(hidden.clone(), Gradient::Off);
        first.min_pair(self.second_target.forward(hidden, Gradient::Off))
    }

    /// target ← α·trained + (1 − α)·target.
    pub(crate) fn follow(self, alpha: f64) -> Self {
        let Self { first, second, first_target, second_target } = self;
        let first_target = mix(&first, &first_target, alpha);
        let second_target = mix(&second, &second_target, alpha);
        Self { first, second, first_target, second_target }
    }
}

fn mix(source: &ActionValues, target: &ActionValues, alpha: f64) -> ActionValues {
    let blend = |source: &Linear, target: &Linear| {
        let bias = source.bias.as_ref().zip(target.bias.as_ref());
        Linear {
            weight: blended(&source.weight, &target.weight, alpha),
            bias: bias.map(|(source, target)| blended(source, target, alpha)),
        }
    };
    ActionValues { up: blend(&source.up, &target.up), down: blend(&source.down, &target.down) }
}

fn blended<const D: usize>(
    source: &Param<Tensor<D>>,
    target: &Param<Tensor<D>>,
    alpha: f64,
) -> Param<Tensor<D>> {
    let source = weight(source, Gradient::Off).mul_scalar(alpha);
    parameter(source.add(weight(target, Gradient::Off).mul_scalar(1.0 - alpha)), false)
}
