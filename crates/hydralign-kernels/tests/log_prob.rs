//! The linear softmax by pieces against PyTorch and against automatic differentiation.
#![cfg(not(miri))]

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::random::uniform;
use hydralign_kernels::{KernelError, LinearGradients, LogProb, TokenSlopes, Vocabulary};
use serde_json::Value;
use std::num::NonZeroUsize;

fn matrix(values: Vec<f32>, dims: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

fn vector(values: Vec<f32>) -> Tensor<1> {
    Tensor::from_floats(values.as_slice(), &Device::flex())
}

fn integers(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

/// Largest difference over the largest expected number.
fn error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|g| g.is_finite()), "{got:?}");
    let scale = expected.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    got.iter().zip(expected).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) / scale
}

fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    let error = error(got, expected);
    assert!(error <= tolerance, "{what}: relative error {error:e}");
}

fn kernel(vocabulary: Vocabulary, temperature: f32, softcap: Option<f64>, chunk: usize) -> LogProb {
    LogProb { vocabulary, temperature, softcap, chunk: NonZeroUsize::new(chunk).unwrap() }
}

/// The matrix in both layouts.
fn layouts(w: &Tensor<2>) -> [Vocabulary; 2] {
    let [rows, columns] = w.dims();
    let transposed = host(w.clone().transpose()).into_iter().map(|v| v as f32).collect();
    [Vocabulary::Head(w.clone()), Vocabulary::Embedding(matrix(transposed, [columns, rows]))]
}

/// ∂L/∂W as `[hidden, vocab]`, whatever the layout.
fn as_head(kernel: &LogProb, gradient: Tensor<2>) -> Tensor<2> {
    match kernel.vocabulary {
        Vocabulary::Head(_) => gradient,
        Vocabulary::Embedding(_) => gradient.transpose(),
    }
}

#[test]
fn numbers_and_gradients_are_those_of_torch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log_prob.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let numbers = |name: &str| -> Vec<f64> {
            case[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let singles = |name: &str| numbers(name).into_iter().map(|v| v as f32).collect();
        let sizes: Vec<usize> = numbers("sizes").into_iter().map(|v| v as usize).collect();
        let [n, hidden, vocab] = sizes[..] else { panic!("three sizes") };
        let targets: Vec<i64> = numbers("targets").into_iter().map(|v| v as i64).collect();
        let temperature = case["temperature"].as_f64().unwrap() as f32;
        let entropies = case["with_entropies"].as_bool().unwrap();
        let h = matrix(singles("hidden"), [n, hidden]);
        for vocabulary in layouts(&matrix(singles("weight"), [hidden, vocab])) {
            for chunk in [1, 2, n, 100] {
                let cap = case["softcap"].as_f64();
                let kernel = kernel(vocabulary.clone(), temperature, cap, chunk);
                let y = integers(&targets);
                let found = kernel.forward(h.clone(), y.clone(), entropies).unwrap();
                assert_close("log p", &host(found.logprobs.clone()), &numbers("logprobs"), 1e-6);
                if entropies {
                    let got = host(found.entropies.clone().unwrap());
                    assert_close("H", &got, &numbers("entropies"), 1e-6);
                }
                let slopes = TokenSlopes {
                    logprobs: Some(vector(singles("g"))),
                    entropies: entropies.then(|| vector(singles("e"))),
                };
                let LinearGradients { hidden: dh, vocabulary: dw } =
                    kernel.backward(h.clone(), y, &found, &slopes, true).unwrap();
                assert_close(
                    &format!("∂h {sizes:?}"),
                    &host(dh),
                    &numbers("hidden_gradient"),
                    1e-6,
                );
                let dw = host(as_head(&kernel, dw.unwrap()));
                assert_close("∂W", &dw, &numbers("weight_gradient"), 1e-6);
            }
        }
    }
}

/// A draw of everything that the kernel reads.
struct Draw {
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Vec<i64>,
    g: Tensor<1>,
    e: Tensor<1>,
    temperature: f32,
    softcap: Option<f64>,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let unit = |stream: u64, i: usize| uniform(seed, stream, i as u64);
        let size = |i: usize, most: usize| 1 + (unit(0, i) * most as f64) as usize;
        let (n, h, v) = (size(0, 12), size(1, 9), 1 + size(2, 40));
        let draw = |stream, count: usize, scale: f64| -> Vec<f32> {
            (0..count).map(|i| ((2.0 * unit(stream, i) - 1.0) * scale) as f32).collect()
        };
        Self {
            hidden: matrix(draw(1, n * h, 2.0), [n, h]),
            weight: matrix(draw(2, h * v, 1.5), [h, v]),
            targets: (0..n).map(|i| (unit(3, i) * v as f64) as i64).collect(),
            g: vector(draw(4, n, 1.0)),
            e: vector(draw(5, n, 1.0)),
            temperature: [1.0, 0.6, 1.7][seed as usize % 3],
            softcap: [None, Some(2.5)][seed as usize / 3 % 2],
        }
    }

    /// log p of the targets, entropies, ∂h and ∂W by automatic differentiation.
    fn plainly(&self, entropies: bool) -> [Vec<f64>; 4] {
        let n = self.targets.len();
        let h = self.hidden.clone().autodiff().require_grad();
        let w = self.weight.clone().autodiff().require_grad();
        let z = h.clone().matmul(w.clone());
        let z = match self.softcap {
            Some(cap) => z.div_scalar(cap).tanh().mul_scalar(cap),
            None => z,
        };
        let log_p = log_softmax(z.div_scalar(self.temperature), 1);
        let chosen = log_p.clone().gather(1, integers(&self.targets).reshape([n, 1])).reshape([n]);
        let entropy = log_p.clone().exp().mul(log_p).sum_dim(1).neg().reshape([n]);
        let loss = chosen.clone().mul(self.g.clone()).sum();
        let loss = match entropies {
            true => loss.add(entropy.clone().mul(self.e.clone()).sum()),
            false => loss,
        };
        let gradients = loss.backward();
        let gradient = |x: &Tensor<2>| host(x.grad(&gradients).unwrap());
        [host(chosen), host(entropy), gradient(&h), gradient(&w)]
    }
}

#[test]
fn random_shapes_agree_with_automatic_differentiation() {
    for seed in 0..60 {
        let draw = Draw::new(seed);
        let n = draw.targets.len();
        let entropies = seed % 4 < 2;
        let [logprobs, entropy, dh, dw] = draw.plainly(entropies);
        for vocabulary in layouts(&draw.weight) {
            for chunk in [1, 3, (n - 1).max(1), n, n + 5] {
                let kernel = kernel(vocabulary.clone(), draw.temperature, draw.softcap, chunk);
                let y = integers(&draw.targets);
                let found = kernel.forward(draw.hidden.clone(), y.clone(), true).unwrap();
                let what = format!("seed {seed}, chunk {chunk}");
                assert_close(&what, &host(found.logprobs.clone()), &logprobs, 1e-6);
                assert_close(&what, &host(found.entropies.clone().unwrap()), &entropy, 2e-6);
                let slopes = TokenSlopes {
                    logprobs: Some(draw.g.clone()),
                    entropies: entropies.then(|| draw.e.clone()),
                };
                let got = kernel.backward(draw.hidden.clone(), y, &found, &slopes, true).unwrap();
                assert_close(&what, &host(got.hidden), &dh, 2e-6);
                let got = host(as_head(&kernel, got.vocabulary.unwrap()));
                assert_close(&what, &got, &dw, 2e-6);
            }
        }
    }
}

/// Where one score is far above the others, p is 1 there and 0 elsewhere, to the last bit.
#[test]
fn scores_of_ten_thousand_stay_finite_and_exact() {
    let weight = matrix(vec![1e4, -1e4, 0.0, 9_999.0], [1, 4]);
    let hidden = matrix(vec![1.0, -1.0], [2, 1]);
    let kernel = kernel(Vocabulary::Head(weight), 1.0, None, 1);
    let y = integers(&[3, 1]);
    let found = kernel.forward(hidden.clone(), y.clone(), true).unwrap();
    // log σ(−1) = −1.3132617, H = ln(1 + e) − e/(1 + e) = 0.5822031.
    assert_close("log p", &host(found.logprobs.clone()), &[-1.313_261_7, 0.0], 1e-6);
    assert_close("H", &host(found.entropies.clone().unwrap()), &[0.582_203_1, 0.0], 1e-6);
    let slopes = TokenSlopes {
        logprobs: Some(vector(vec![1.0, 1.0])),
        entropies: Some(vector(vec![0.0, 1.0])),
    };
    let got = kernel.backward(hidden, y, &found, &slopes, true).unwrap();
    // ∂ log p/∂z = 1_y − p with p = (σ(1), 0, 0, σ(−1)) in the first row and 1_y in the second.
    let p = 0.731_058_6;
    let expected = [-p, 0.0, 0.0, p];
    assert_close("∂W", &host(got.vocabulary.unwrap()), &expected, 1e-6);
    let expected = [-p * 1e4 + p * 9_999.0, 0.0];
    assert_close("∂h", &host(got.hidden), &expected, 2e-3);
}

#[test]
fn slopes_that_are_absent_are_zero_and_misfits_are_refused() {
    let draw = Draw::new(7);
    let n = draw.targets.len();
    let kernel = kernel(Vocabulary::Head(draw.weight.clone()), 1.0, None, 2);
    let (h, y) = (|| draw.hidden.clone(), || integers(&draw.targets));
    let found = kernel.forward(h(), y(), false).unwrap();
    let none = kernel.backward(h(), y(), &found, &TokenSlopes::default(), false).unwrap();
    assert!(host(none.hidden).iter().all(|&d| d == 0.0) && none.vocabulary.is_none());
    let only = |entropies| TokenSlopes { logprobs: None, entropies: Some(entropies) };
    let refused = |slopes| kernel.backward(h(), y(), &found, &slopes, false).unwrap_err();
    assert_eq!(refused(only(draw.e.clone())), KernelError::NoEntropies);
    let what = "slopes of the entropies";
    let got = KernelError::Size { what, expected: n, got: n + 1 };
    assert_eq!(refused(only(vector(vec![0.0; n + 1]))), got);
    let wide = matrix(vec![0.0; 2 * 99], [2, 99]);
    let error = kernel.forward(wide, integers(&[0, 0]), false).unwrap_err();
    assert!(matches!(error, KernelError::Size { what: "width of the hidden states", .. }));
    let error = kernel.forward(h(), integers(&vec![0; n + 2]), false).unwrap_err();
    assert_eq!(error, KernelError::Size { what: "number of targets", expected: n, got: n + 2 });
}

#[test]
fn nothing_to_read_is_read() {
    let weight = matrix(vec![0.5; 6], [2, 3]);
    let kernel = kernel(Vocabulary::Head(weight), 1.0, None, 4);
    let hidden = || Tensor::<2>::zeros([0, 2], &Device::flex());
    let found = kernel.forward(hidden(), integers(&[]), true).unwrap();
    assert_eq!(found.logprobs.dims(), [0]);
    let got = kernel.backward(hidden(), integers(&[]), &found, &TokenSlopes::default(), true);
    assert_eq!(got.unwrap().hidden.dims(), [0, 2]);
}
