use crate::init::uniform;
use crate::linear::Linear;
use crate::weights::{duplicate, parameter, weight};
use burn::module::{Module, Param, ParamId, list_param_ids};
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

/// An action-value head, or two of them, with their slowly following copies: what offline Q-learning
/// needs (Snell et al. 2022). A single one is enough to guide decoding.
#[derive(Module, Debug)]
pub struct ActionHeads {
    first: Followed,
    second: Option<Followed>,
}

/// A trained head and the copy that follows it.
#[derive(Module, Debug)]
struct Followed {
    trained: ActionValues,
    target: ActionValues,
}

impl ActionHeads {
    /// Fresh heads; the copies begin as what they follow.
    pub(crate) fn fresh(
        (hidden, vocab): (usize, usize),
        twin: bool,
        seed: u64,
        device: &Device,
    ) -> Self {
        let head = |name| {
            let trained = ActionValues::fresh(hidden, vocab, sub_seed(seed, name), device);
            Followed { target: duplicate(&trained, false), trained }
        };
        Self { first: head("first action head"), second: twin.then(|| head("second action head")) }
    }

    /// A head; none if there is no second one.
    pub(crate) fn head(&self, head: ActionHead) -> Option<&ActionValues> {
        match head {
            ActionHead::First => Some(&self.first.trained),
            ActionHead::Second => self.second.as_ref().map(|h| &h.trained),
            ActionHead::FirstTarget => Some(&self.first.target),
            ActionHead::SecondTarget => self.second.as_ref().map(|h| &h.target),
        }
    }

    /// The copy's value of every token, or the lesser of two, `[n, vocab]`.
    pub(crate) fn least_target(&self, hidden: Tensor<2>) -> Tensor<2> {
        let first = self.first.target.forward(hidden.clone(), Gradient::Off);
        match &self.second {
            Some(second) => first.min_pair(second.target.forward(hidden, Gradient::Off)),
            None => first,
        }
    }

    /// The weights of the copies.
    pub(crate) fn followers(&self) -> Vec<ParamId> {
        let heads = [Some(&self.first), self.second.as_ref()];
        heads.into_iter().flatten().flat_map(|head| list_param_ids(&head.target)).collect()
    }

    /// target ← α·trained + (1 − α)·target.
    pub(crate) fn follow(self, alpha: f64) -> Self {
        let follow = |Followed { trained, target }| {
            let target = mix(&trained, &target, alpha);
            Followed { trained, target }
        };
        Self { first: follow(self.first), second: self.second.map(follow) }
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
