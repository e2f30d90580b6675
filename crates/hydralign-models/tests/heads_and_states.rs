//! What can be read of a model and put on top of it: hidden states, given weights, heads of one's own.

mod common;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use common::{golden, host, ids, load, relative_error, tensors, whole_rows};
use hydralign_core::{
    CoreError, Differentiable, Gradient, Reading, Request, Role, Roles, TokenBatch,
};
use hydralign_models::{ModelBank, ModelError, ScalarHead, Start, ValueHead};
use hydralign_placement::{Execution, LoraShape, Placement};

#[test]
fn hidden_states_of_every_layer_are_those_of_transformers() {
    let expected = tensors(&golden("hidden_states.safetensors"));
    let batch = whole_rows(&ids(&expected["input_ids"]));
    let mut seen = 1;
    for folder in ["llama", "gemma2", "gpt2", "gptneox", "opt", "opt_postnorm", "qwen3"] {
        let folder = if folder == "llama" { folder.into() } else { format!("families/{folder}") };
        let bank = ModelBank::frozen(load(&folder));
        for layer in 0.. {
            let Some((shape, values)) = expected.get(&format!("{folder}/{layer}")) else { break };
            let states = bank.hidden_states(Role::Actor, &batch, layer).unwrap();
            assert_eq!(states.dims()[1..], shape[..]);
            let error = relative_error(&host(states), values);
            assert!(error < 1e-5, "{folder}, layer {layer}: {error:e}");
            seen += 1;
        }
    }
    assert_eq!(seen, expected.len());
    let beyond = ModelBank::frozen(load("llama")).hidden_states(Role::Actor, &batch, 3);
    assert!(beyond.unwrap_err().to_string().contains("the model has 2 blocks"));
}

/// A placement of PPO without a reward model: the critic's head is what the bank is given.
fn bank(head: Option<ScalarHead>) -> Result<ModelBank, ModelError> {
    let mut model = load("llama");
    model.reward_head = head;
    let placement = Placement::hydra_ppo().without_reward();
    ModelBank::new(&placement, &Start::joint(&model), &LoraShape::default(), 3)
}

fn batch() -> TokenBatch {
    whole_rows(&[vec![5, 9, 13, 8], vec![6, 7]])
}

fn values<V: ValueHead>(bank: &ModelBank<V>) -> Vec<f64> {
    let reading = Reading::Values(Role::Critic);
    let outputs = bank.read(&[Request::constant(reading)], &batch()).unwrap();
    host(outputs.get(reading).unwrap())
}

#[test]
fn a_head_of_given_weights_is_their_product_with_the_output_states() {
    let weights: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
    let head = ScalarHead::from_weights(weights.clone(), false, &Device::flex()).unwrap();
    let bank = bank(Some(head)).unwrap();
    let states = host(bank.hidden_states(Role::Critic, &batch(), 2).unwrap());
    // The states before the response tokens: positions 0 to 2 of the first row, 0 of the second.
    let expected: Vec<f64> = [0, 1, 2, 4]
        .iter()
        .map(|&at| {
            let state = &states[at * 64..(at + 1) * 64];
            state.iter().zip(&weights).map(|(s, &w)| s * f64::from(w)).sum()
        })
        .collect();
    assert!(relative_error(&values(&bank), &expected) < 1e-5);
}

#[test]
fn weights_that_make_no_head_of_this_trunk_are_refused() {
    let device = Device::flex();
    for bad in [vec![], vec![1.0, f32::NAN]] {
        let refused = ScalarHead::from_weights(bad, true, &device).unwrap_err();
        assert!(matches!(refused, ModelError::HeadWeights { .. }));
    }
    let narrow = || ScalarHead::from_weights(vec![1.0; 8], true, &device).unwrap();
    let misfits = |e| matches!(e, ModelError::HeadWidth { role: Role::Critic, head: 8, trunk: 64 });
    assert!(misfits(bank(Some(narrow())).unwrap_err()));
    assert!(misfits(bank(None).unwrap().with_critic_head(narrow()).unwrap_err()));
    let policy = ModelBank::frozen(load("llama"));
    assert!(policy.with_critic_head(narrow()).is_err(), "nobody reads it");
}

/// Two layers, of burn's own parts.
#[derive(Module, Debug)]
struct Perceptron {
    up: Linear,
    down: Linear,
}

impl Perceptron {
    fn new(hidden: usize) -> Self {
        let device = Device::flex().autodiff();
        let linear = |from, to| LinearConfig::new(from, to).init(&device);
        Self { up: linear(hidden, 2 * hidden), down: linear(2 * hidden, 1) }
    }
}

impl ValueHead for Perceptron {
    fn width(&self) -> usize {
        self.up.weight.dims()[0]
    }

    fn forward(&self, hidden: Tensor<2>, _: Gradient) -> Tensor<1> {
        self.down.forward(self.up.forward(hidden).tanh()).flatten(0, 1)
    }
}

fn gradients(bank: &ModelBank<Perceptron>) -> GradientsParams {
    let reading = Reading::Values(Role::Critic);
    bank.differentiate(&[Request::differentiable(reading)], &batch(), |outputs| {
        Ok::<_, CoreError>(outputs.get(reading)?.square().sum())
    })
    .unwrap()
}

#[test]
fn a_head_of_ones_own_is_read_and_differentiated_however_passes_are_carried_out() {
    let head = Perceptron::new(64);
    let own = bank(None).unwrap().with_critic_head(head.clone()).unwrap();
    let states = own.hidden_states(Role::Critic, &batch(), 2).unwrap().reshape([8, 64]);
    let all = host(head.forward(states, Gradient::Off));
    assert!(relative_error(&values(&own), &[0, 1, 2, 4].map(|i| all[i])) < 1e-6);
    let at_once = gradients(&own);
    let ids = [head.up.weight.id, head.down.weight.id];
    let numbers = |g: &GradientsParams| ids.map(|id| host(g.get::<2>(id).unwrap())).concat();
    let expected = numbers(&at_once);
    assert!(expected.iter().any(|g| g.abs() > 1e-6));
    let pieces = Execution { logprob_chunk: Some(2), segment_blocks: Some(1) };
    let in_pieces = gradients(&own.with_execution(pieces).unwrap());
    assert_eq!(in_pieces.len(), at_once.len());
    assert!(relative_error(&numbers(&in_pieces), &expected) < 1e-4);
}
