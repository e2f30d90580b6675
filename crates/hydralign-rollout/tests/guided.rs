//! Decoding tilted by values, on responses that can be enumerated.

use burn::tensor::{Device, Tensor, TensorData};
use hydralign_core::{CoreError, Decoder, Role};
use hydralign_rollout::{Engine, GenerationConfig, Generator, Guided, Key, Prompt, SamplerConfig};

const V: usize = 3;

/// Answers with a row of numbers for each state: the empty prefix or the first token.
struct Table([[f32; V]; 1 + V]);

impl Table {
    fn rows(&self, states: &[usize]) -> Tensor<2> {
        let numbers: Vec<f32> = states.iter().flat_map(|&s| self.0[s]).collect();
        Tensor::from_data(TensorData::new(numbers, [states.len(), V]), &Device::flex())
    }
}

impl Decoder for Table {
    type Cache = ();

    fn prefill(
        &self,
        _: Role,
        prompts: &[&[u32]],
        _: &[usize],
    ) -> Result<((), Tensor<2>), CoreError> {
        Ok(((), self.rows(&vec![0; prompts.len()])))
    }

    fn decode(&self, _: Role, (): &mut (), tokens: &[u32]) -> Result<Tensor<2>, CoreError> {
        Ok(self.rows(&tokens.iter().map(|&t| 1 + t as usize).collect::<Vec<_>>()))
    }

    fn retain(&self, (): &mut (), _: &[usize]) {}
}

const POLICY: Table =
    Table([[0.3, -0.5, 0.1], [0.7, 0.2, -0.4], [-0.2, 0.4, 0.9], [0.0, -0.8, 0.5]]);
const REWARDS: [f64; V * V] = [0.2, -1.0, 0.7, 1.4, 0.0, -0.4, 0.9, -0.7, 2.0];

fn softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x.exp() / sum).collect()
}

fn distribution(logits: Tensor<2>) -> Vec<Vec<f64>> {
    let numbers: Vec<f64> = logits.into_data().iter::<f32>().map(f64::from).collect();
    numbers.chunks(V).map(softmax).collect()
}

/// With the exact soft values of prefixes, β·log E[exp(r/β)], and weight 1/β the tilted tokens make up
/// the regularised optimum π·exp(r/β)/Z of whole responses.
#[test]
fn soft_values_make_the_regularised_optimum() {
    let beta = 0.7;
    let policy: Vec<Vec<f64>> = POLICY.0.iter().map(|row| softmax(&row.map(f64::from))).collect();
    let soft = |a: usize| -> f64 {
        let terms = (0..V).map(|b| policy[1 + a][b] * (REWARDS[a * V + b] / beta).exp());
        beta * terms.sum::<f64>().ln()
    };
    let first: Vec<f32> = (0..V).map(|a| soft(a) as f32).collect();
    let second = |a: usize| -> [f32; V] { std::array::from_fn(|b| REWARDS[a * V + b] as f32) };
    let scorer = Table([[first[0], first[1], first[2]], second(0), second(1), second(2)]);
    let guided = Guided::new(&POLICY, &scorer, Role::Critic, 1.0 / beta);
    let prompts: Vec<&[u32]> = vec![&[0]; V];
    let (mut cache, start) = guided.prefill(Role::Actor, &prompts, &[2; V]).unwrap();
    let start = distribution(start);
    let after = distribution(guided.decode(Role::Actor, &mut cache, &[0, 1, 2]).unwrap());
    let z: f64 = (0..V * V)
        .map(|i| policy[0][i / V] * policy[1 + i / V][i % V] * (REWARDS[i] / beta).exp())
        .sum();
    for (i, reward) in REWARDS.iter().enumerate() {
        let (a, b) = (i / V, i % V);
        let want = policy[0][a] * policy[1 + a][b] * (reward / beta).exp() / z;
        let found = start[0][a] * after[a][b];
        assert!((found - want).abs() < 1e-6, "{a}{b}: {found} instead of {want}");
    }
}

#[test]
fn no_weight_is_the_policy_and_much_weight_the_best_value() {
    let values = Table([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 5.0, 0.0]]);
    let config = GenerationConfig { max_new_tokens: 2, ..GenerationConfig::default() };
    let sampler = SamplerConfig::greedy().build().unwrap();
    let prompts = [Prompt { tokens: vec![0], row: None, key: Key { seed: 0, episode: 0 } }];
    let answer = |weight| {
        let guided = Guided::new(&POLICY, &values, Role::Critic, weight);
        let engine = Engine::new(&guided, Role::Actor, &sampler, &config).unwrap();
        engine.generate(&prompts, &mut ()).unwrap()[0].response.clone()
    };
    let engine = Engine::new(&POLICY, Role::Actor, &sampler, &config).unwrap();
    let plain = engine.generate(&prompts, &mut ()).unwrap()[0].response.clone();
    assert_eq!(answer(0.0), plain);
    assert_eq!(answer(100.0), [1, 2]);
}
