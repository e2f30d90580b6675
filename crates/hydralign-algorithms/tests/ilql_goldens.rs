//! The same loss, parts and gradients of offline Q-learning as trlX (`golden/README.md`).

mod common;

use burn::module::{Module, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{assert_close, flat, flat32, golden, host};
use hydralign_algorithms::{Ilql, IlqlRow, ilql_batch};
use hydralign_core::{
    ActionHead, CoreError, Gradient, Objective, Outputs, Reading, Request, Role, Roles, Sequence,
    TokenBatch,
};
use serde_json::Value;

const VOCAB: usize = 7;

/// Heads whose outputs are its parameters, one row per action.
#[derive(Module, Debug)]
struct Heads {
    q: Vec<Param<Tensor<2>>>,
    targets: Vec<Param<Tensor<2>>>,
    values: Param<Tensor<1>>,
    logits: Param<Tensor<2>>,
    #[module(skip)]
    actions: Vec<i64>,
}

fn matrix(value: &Value) -> Param<Tensor<2>> {
    let numbers = flat32(value);
    let rows = numbers.len() / VOCAB;
    let tensor = Tensor::from_data(TensorData::new(numbers, [rows, VOCAB]), &Device::flex());
    Param::from_tensor(tensor.autodiff())
}

fn indices(value: &Value) -> Vec<usize> {
    flat(value).into_iter().map(|i| i as usize).collect()
}

impl Heads {
    fn of(case: &Value) -> Self {
        let heads = |names: [&str; 2]| {
            names.iter().filter(|n| case[**n].is_array()).map(|n| matrix(&case[*n])).collect()
        };
        let rows = 0..case["tokens"].as_array().unwrap().len();
        let mut actions = Vec::new();
        let (mut values, mut logits) = (Vec::new(), Vec::new());
        for row in rows {
            let (tokens, v) = (indices(&case["tokens"][row]), flat32(&case["v"][row]));
            let places = indices(&case["actions_ixs"][row]);
            // The last state of a row ends it and has no action.
            values.extend(&v[..places.len()]);
            for place in places {
                actions.push(tokens[place + 1] as i64);
                logits.extend(flat32(&case["logits"][row][place]));
            }
        }
        let rows = actions.len();
        let logits = Tensor::from_data(TensorData::new(logits, [rows, VOCAB]), &Device::flex());
        Self {
            q: heads(["q1", "q2"]),
            targets: heads(["target_q1", "target_q2"]),
            values: common::trained(&values),
            logits: Param::from_tensor(logits.autodiff()),
            actions,
        }
    }

    fn taken(&self, all: Tensor<2>) -> Tensor<1> {
        let n = self.actions.len();
        let index = TensorData::new(self.actions.clone(), [n, 1]);
        all.gather(1, Tensor::<2, Int>::from_data(index, &Device::flex())).reshape([n])
    }
}

impl Roles for Heads {
    fn read(&self, requests: &[Request], _: &TokenBatch) -> Result<Outputs, CoreError> {
        let mut outputs = Outputs::new();
        for request in requests {
            let value = match request.reading {
                Reading::Logprobs(Role::Actor) => self.taken(log_softmax(self.logits.val(), 1)),
                Reading::Values(Role::Critic) => self.values.val(),
                Reading::ActionValue(ActionHead::First) => self.taken(self.q[0].val()),
                Reading::ActionValue(ActionHead::Second) => self.taken(self.q[1].val()),
                Reading::ActionValue(ActionHead::FirstTarget) => self.taken(self.targets[0].val()),
                Reading::ActionValue(ActionHead::SecondTarget) => self.taken(self.targets[1].val()),
                Reading::ActionLogSum(ActionHead::First) => log_sum(self.q[0].val()),
                Reading::ActionLogSum(ActionHead::Second) => log_sum(self.q[1].val()),
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

fn log_sum(all: Tensor<2>) -> Tensor<1> {
    let n = all.dims()[0];
    all.exp().sum_dim(1).log().reshape([n])
}

/// The rows of the file's gradient that belong to actions.
fn at_actions(case: &Value, name: &str) -> Vec<f64> {
    let rows = 0..case["tokens"].as_array().unwrap().len();
    let mut numbers = Vec::new();
    for row in rows {
        let places = indices(&case["actions_ixs"][row]);
        match name {
            "gradient_v" => numbers.extend(&flat(&case[name][row])[..places.len()]),
            _ => places.iter().for_each(|&p| numbers.extend(flat(&case[name][row][p]))),
        }
    }
    numbers
}

#[test]
fn offline_q_learning() {
    let file = golden("offline.json");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let setting = |key: &str| case["settings"][key].as_f64().unwrap();
        let ilql = Ilql {
            tau: setting("tau"),
            gamma: setting("gamma"),
            cql_scale: setting("cql_scale"),
            awac_scale: setting("awac_scale"),
            beta: setting("beta"),
            two_heads: case["settings"]["two_qs"].as_bool().unwrap(),
        };
        let rewards = case["rewards"].as_array().unwrap().iter().map(flat32);
        let rows: Vec<IlqlRow> = rewards
            .map(|rewards| IlqlRow {
                sequence: Sequence::new(vec![0], vec![0; rewards.len()]),
                rewards,
            })
            .collect();
        let (tokens, batch) = ilql_batch(&rows, rows.len(), &Device::flex()).unwrap().remove(0);
        let heads = Heads::of(case);
        let outputs = heads.read(&ilql.reads(), &tokens).unwrap();
        let loss = ilql.loss(&outputs, &batch).unwrap();
        for (part, value) in &loss.stats {
            let want = case[*part].as_f64().unwrap();
            assert_close(&format!("{name} {part}"), &host(value.clone()), &[want], 1e-5);
        }
        assert_close(name, &host(loss.value.clone()), &[case["loss"].as_f64().unwrap()], 1e-5);
        let gradients = loss.value.backward();
        let of = |param: &Param<Tensor<2>>| host(param.val().grad(&gradients).unwrap());
        assert_close("q1", &of(&heads.q[0]), &flat(&case["gradient_q1"]), 1e-5);
        if ilql.two_heads {
            assert_close("q2", &of(&heads.q[1]), &flat(&case["gradient_q2"]), 1e-5);
        }
        let values = host(heads.values.val().grad(&gradients).unwrap());
        assert_close("v", &values, &at_actions(case, "gradient_v"), 1e-5);
        assert_close("logits", &of(&heads.logits), &at_actions(case, "gradient_logits"), 1e-5);
        assert!(heads.targets.iter().all(|t| t.val().grad(&gradients).is_none()));
    }
}

#[test]
fn bad_rewards_are_refused() {
    let sequence = Sequence::new(vec![0], vec![0; 2]);
    for rewards in [vec![0.0], vec![0.0, f32::NAN], vec![f32::INFINITY, 0.0]] {
        let row = IlqlRow { sequence: sequence.clone(), rewards };
        assert!(ilql_batch(&[row], 1, &Device::flex()).is_err());
    }
}
