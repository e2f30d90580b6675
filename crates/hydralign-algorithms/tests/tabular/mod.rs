//! A policy small enough to enumerate: prompts of one token, responses of two out of three.
#![allow(dead_code, reason = "each test binary uses its own part")]

use burn::module::{Module, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hydralign_core::{
    CoreError, Differentiable, Episode, Finish, Gradient, Objective, Outputs, Reading, Request,
    Role, Roles, Sequence, TokenBatch,
};

/// Size of the vocabulary.
pub(crate) const V: usize = 3;
/// Length of every response.
pub(crate) const T: usize = 2;
/// Number of responses to a prompt.
pub(crate) const ALL: usize = V * V;
/// States of one prompt in which a token is chosen: the empty prefix and each first token.
const STATES: usize = 1 + V;
/// Prefixes of one prompt that end with a token.
const PREFIXES: usize = V + V * V;

/// Logits by state, and a value by state and by prefix.
#[derive(Module, Debug)]
pub(crate) struct Tabular {
    pub(crate) logits: Param<Tensor<2>>,
    pub(crate) reference: Param<Tensor<2>>,
    pub(crate) values: Param<Tensor<1>>,
    pub(crate) prefixes: Param<Tensor<1>>,
}

fn table(rows: &[[f32; V]], trained: bool) -> Param<Tensor<2>> {
    let tensor = Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), V]), &device());
    if trained {
        Param::from_tensor(tensor.autodiff())
    } else {
        Param::from_tensor(tensor).no_grad()
    }
}

fn column(values: Vec<f32>) -> Param<Tensor<1>> {
    let n = values.len();
    Param::from_tensor(Tensor::from_data(TensorData::new(values, [n]), &device()).autodiff())
}

pub(crate) fn device() -> Device {
    Device::flex()
}

impl Tabular {
    /// A policy and a reference for some prompts, STATES rows of logits each.
    pub(crate) fn new(logits: &[[f32; V]], reference: &[[f32; V]]) -> Self {
        assert_eq!((logits.len() % STATES, logits.len()), (0, reference.len()));
        let prompts = logits.len() / STATES;
        Self {
            logits: table(logits, true),
            reference: table(reference, false),
            values: column(vec![0.0; prompts * STATES]),
            prefixes: column(vec![0.0; prompts * PREFIXES]),
        }
    }

    /// One prompt whose responses are all equally likely, which is also the reference.
    pub(crate) fn uniform() -> Self {
        Self::new(&[[0.0; V]; STATES], &[[0.0; V]; STATES])
    }

    /// One prompt with an uneven policy and another uneven reference.
    pub(crate) fn uneven() -> Self {
        let policy = [[0.3, -0.5, 0.1], [0.7, 0.2, -0.4], [-0.2, 0.4, 0.9], [0.0, -0.8, 0.5]];
        let reference = [[-0.1, 0.4, 0.2], [0.1, -0.3, 0.6], [0.5, 0.0, -0.2], [-0.4, 0.3, 0.1]];
        Self::new(&policy, &reference)
    }

    fn per_token(
        &self,
        batch: &TokenBatch,
        of: impl Fn(usize, &[u32], usize) -> usize,
    ) -> Tensor<1, Int> {
        let mut index = Vec::new();
        for s in batch.sequences() {
            for t in 0..s.response.len() {
                index.push(of(s.prompt[0] as usize, &s.response, t) as i64);
            }
        }
        let n = index.len();
        Tensor::from_data(TensorData::new(index, [n]), &device())
    }

    fn logprobs(&self, logits: Tensor<2>, batch: &TokenBatch) -> Tensor<1> {
        let states = logits.dims()[0];
        let flat = log_softmax(logits.div_scalar(batch.temperature()), 1).reshape([states * V]);
        flat.select(0, self.per_token(batch, |p, y, t| state(p, &y[..t]) * V + y[t] as usize))
    }

    /// π(y|x) of every response to a prompt, in f64.
    pub(crate) fn probabilities(&self, prompt: u32) -> Vec<f64> {
        let batch = TokenBatch::new(sequences(prompt)).unwrap();
        let logprobs = host(self.logprobs(self.logits.val(), &batch).without_autodiff());
        logprobs.chunks(T).map(|row| row.iter().sum::<f64>().exp()).collect()
    }

    /// π_ref(y|x) of every response to a prompt.
    pub(crate) fn reference_probabilities(&self, prompt: u32) -> Vec<f64> {
        let batch = TokenBatch::new(sequences(prompt)).unwrap();
        let logprobs = host(self.logprobs(self.reference.val(), &batch));
        logprobs.chunks(T).map(|row| row.iter().sum::<f64>().exp()).collect()
    }

    /// Every response as the policy would have sampled it.
    pub(crate) fn episodes(&self, prompt: u32) -> Vec<Episode> {
        let batch = TokenBatch::new(sequences(prompt)).unwrap();
        let logprobs = host(self.logprobs(self.logits.val(), &batch).without_autodiff());
        let rows = logprobs.chunks(T).map(|row| row.iter().map(|&l| l as f32).collect::<Vec<_>>());
        let episode = |(s, logprobs): (Sequence, Vec<f32>)| Episode {
            prompt: s.prompt,
            row: None,
            response: s.response,
            policy_logprobs: logprobs.clone(),
            logprobs,
            finish: Finish::Stop,
        };
        sequences(prompt).into_iter().zip(rows).map(episode).collect()
    }

    /// The gradient of an objective with respect to the policy's logits.
    pub(crate) fn gradient<O: Objective>(
        &self,
        objective: &O,
        batches: &[(TokenBatch, O::Batch)],
    ) -> Vec<f64> {
        let mut sum = vec![0.0; self.logits.val().dims()[0] * V];
        for (tokens, batch) in batches {
            let outputs = self.read(&objective.reads(), tokens).unwrap();
            let loss = objective.loss(&outputs, batch).unwrap().value;
            if let Some(gradient) = self.logits.val().grad(&loss.backward()) {
                add(&mut sum, &host(gradient), 1.0);
            }
        }
        sum
    }

    /// The exact gradient of Σ_y f(y, π(y|x)) over the responses to a prompt, as a function of log π.
    pub(crate) fn exact_gradient(
        &self,
        prompt: u32,
        f: impl Fn(Tensor<1>) -> Tensor<1>,
    ) -> Vec<f64> {
        let batch = TokenBatch::new(sequences(prompt)).unwrap();
        let logprobs = self.logprobs(self.logits.val(), &batch);
        let log_pi = logprobs.reshape([ALL, T]).sum_dim(1).reshape([ALL]);
        let gradients = f(log_pi).sum().backward();
        host(self.logits.val().grad(&gradients).unwrap())
    }

    /// The gradient of Σ_s d(s)·KL(s) with the visits d of the policy held fixed: KL(π_ref‖π) of each
    /// state if `forward`, else KL(π‖π_ref).
    pub(crate) fn state_kl_gradient(&self, forward: bool) -> Vec<f64> {
        let log_p = log_softmax(self.logits.val(), 1);
        let log_q = log_softmax(self.reference.val(), 1);
        let gap = log_p.clone().sub(log_q.clone());
        let kl = if forward { log_q.exp().mul(gap).neg() } else { log_p.exp().mul(gap) };
        let responses = self.probabilities(0);
        let first = responses.chunks(V).map(|row| row.iter().sum::<f64>());
        let visits: Vec<f64> = std::iter::once(1.0).chain(first).collect();
        let loss = kl.sum_dim(1).reshape([STATES]).mul(vector(&visits)).sum();
        host(self.logits.val().grad(&loss.backward()).unwrap())
    }
}

impl Roles for Tabular {
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        let mut outputs = Outputs::new();
        for request in requests {
            let value = match request.reading {
                Reading::Logprobs(Role::Reference) => self.logprobs(self.reference.val(), batch),
                Reading::Logprobs(_) => self.logprobs(self.logits.val(), batch),
                Reading::Values(_) => {
                    self.values.val().select(0, self.per_token(batch, |p, y, t| state(p, &y[..t])))
                }
                Reading::PrefixValues(_) => {
                    let index = self.per_token(batch, |p, y, t| prefix(p, &y[..=t]));
                    self.prefixes.val().select(0, index)
                }
                reading => return Err(CoreError::MissingReading { reading }),
            };
            let value = match request.gradient {
                Gradient::On => value,
                Gradient::Off => value.without_autodiff(),
            };
            outputs.insert(request.reading, value);
        }
        Ok(outputs)
    }
}

impl Differentiable for Tabular {}

/// Index of the state after some tokens.
pub(crate) fn state(prompt: usize, before: &[u32]) -> usize {
    prompt * STATES + before.first().map_or(0, |&t| 1 + t as usize)
}

/// Index of a prefix of one or two tokens.
pub(crate) fn prefix(prompt: usize, tokens: &[u32]) -> usize {
    let own = match *tokens {
        [a] => a as usize,
        [a, b] => V + a as usize * V + b as usize,
        _ => panic!("prefixes have one or two tokens"),
    };
    prompt * PREFIXES + own
}

/// Every response to a prompt.
pub(crate) fn sequences(prompt: u32) -> Vec<Sequence> {
    let tokens = 0..V as u32;
    let all = tokens.clone().flat_map(|a| tokens.clone().map(move |b| vec![a, b]));
    all.map(|response| Sequence::new(vec![prompt], response)).collect()
}

/// A score for every response: no two alike, not additive over tokens.
pub(crate) const REWARDS: [f32; ALL] = [0.2, -1.0, 0.7, 1.4, 0.0, -0.4, 0.9, -0.7, 2.0];

/// The score of a response, as a reward function.
pub(crate) fn reward(episodes: &[Episode]) -> Vec<f32> {
    let score = |e: &Episode| REWARDS[e.response[0] as usize * V + e.response[1] as usize];
    episodes.iter().map(score).collect()
}

pub(crate) fn vector(values: &[f64]) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_floats(values.as_slice(), &device())
}

pub(crate) fn rewards() -> Vec<f64> {
    REWARDS.iter().map(|&r| f64::from(r)).collect()
}

pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

/// a ← a + s·b.
pub(crate) fn add(a: &mut [f64], b: &[f64], s: f64) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += s * b);
}

/// p normalised to add up to 1.
pub(crate) fn normalised(p: &[f64]) -> Vec<f64> {
    let sum: f64 = p.iter().sum();
    p.iter().map(|p| p / sum).collect()
}

/// π·exp(r/β), normalised: the exact optimum of E[r] − β·KL(·‖π).
pub(crate) fn optimum(pi: &[f64], beta: f64) -> Vec<f64> {
    let tilted = pi.iter().zip(rewards()).map(|(p, r)| p * (r / beta).exp());
    normalised(&tilted.collect::<Vec<_>>())
}

pub(crate) fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "{what}[{i}]: {g} instead of {w}\n{got:?}\n{want:?}");
    }
}
