//! A model whose readings *are* its parameters, and access to the goldens.
#![allow(dead_code, reason = "each test binary uses its own part")]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use hydralign_core::{
    CoreError, Differentiable, Gradient, Outputs, Reading, Request, Roles, Sequence, TokenBatch,
};
use serde_json::Value;

/// Answers every reading with a parameter of its own.
#[derive(Module, Debug)]
pub(crate) struct Table {
    pub(crate) logprobs: Param<Tensor<1>>,
    pub(crate) entropy: Param<Tensor<1>>,
    pub(crate) values: Param<Tensor<1>>,
    pub(crate) scores: Param<Tensor<1>>,
}

pub(crate) fn trained(values: &[f32]) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::<1>::from_floats(values, &Device::flex()).autodiff())
}

impl Table {
    pub(crate) fn new(logprobs: &[f32], values: &[f32], scores: &[f32]) -> Self {
        Self {
            logprobs: trained(logprobs),
            entropy: trained(&logprobs.iter().map(|l| 1.0 - 0.3 * l).collect::<Vec<_>>()),
            values: trained(values),
            scores: trained(scores),
        }
    }
}

impl Roles for Table {
    fn read(&self, requests: &[Request], _: &TokenBatch) -> Result<Outputs, CoreError> {
        let mut outputs = Outputs::new();
        for request in requests {
            let value = match request.reading {
                Reading::Logprobs(_) => &self.logprobs,
                Reading::Entropy(_) => &self.entropy,
                Reading::Values(_) | Reading::PrefixValues(_) => &self.values,
                Reading::Score(_) => &self.scores,
                reading => return Err(CoreError::MissingReading { reading }),
            };
            let value = match request.gradient {
                Gradient::On => value.val(),
                Gradient::Off => value.val().without_autodiff(),
            };
            outputs.insert(request.reading, value);
        }
        Ok(outputs)
    }
}

impl Differentiable for Table {}

/// A batch of that many one-token responses; the table does not look at it.
pub(crate) fn any_batch(tokens: usize) -> TokenBatch {
    TokenBatch::new(vec![Sequence::new(vec![0], vec![0; tokens])]).unwrap()
}

pub(crate) fn golden(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All numbers of a nested array, in order.
pub(crate) fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

pub(crate) fn flat32(value: &Value) -> Vec<f32> {
    flat(value).into_iter().map(|v| v as f32).collect()
}

pub(crate) fn vector(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::flex())
}

pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

/// Each number within `tolerance` of the expected one, relative to the largest.
pub(crate) fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * scale, "{what}[{i}]: {g} instead of {e}");
    }
}
