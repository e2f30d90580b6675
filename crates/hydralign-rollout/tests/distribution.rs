//! The distribution of whole responses against exact enumeration on a tiny vocabulary.

mod common;

use common::{Fake, log_softmax, prompt, scrambled};
use hydralign_core::Role;
use hydralign_rollout::{Engine, GenerationConfig, Generator, Prompt, SamplerConfig};
use std::collections::BTreeMap;

const VOCAB: usize = 4;
const STOP: u32 = 0;
const MAX: usize = 3;

/// Next-token probabilities of a history.
type Next<'a> = &'a dyn Fn(&[u32]) -> Vec<f64>;

/// Probability of every possible response.
fn enumerate(prompt: &[u32], next: Next) -> BTreeMap<Vec<u32>, f64> {
    let mut responses = BTreeMap::new();
    let mut open = vec![(Vec::new(), 1.0)];
    while let Some((response, share)) = open.pop() {
        if response.len() == MAX || response.last() == Some(&STOP) {
            responses.insert(response, share);
            continue;
        }
        let history = [prompt, &response].concat();
        for (token, p) in next(&history).into_iter().enumerate().filter(|(_, p)| *p > 0.0) {
            open.push(([response.as_slice(), &[token as u32]].concat(), share * p));
        }
    }
    responses
}

fn check(sampler: SamplerConfig, min_new_tokens: usize, next: Next) {
    let tokens = [2, 1];
    let exact = enumerate(&tokens, next);
    assert!((exact.values().sum::<f64>() - 1.0).abs() < 1e-9);
    let n = 20_000;
    let prompts: Vec<Prompt> = (0..n).map(|i| prompt(&tokens, i)).collect();
    let config = GenerationConfig {
        max_new_tokens: MAX,
        min_new_tokens,
        stop_tokens: vec![STOP],
        batch_size: 500,
        max_length: None,
    };
    let (fake, sampler) = (Fake::new(VOCAB), sampler.build().unwrap());
    let engine = Engine::new(&fake, Role::Actor, &sampler, &config).unwrap();
    let mut counts: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
    for episode in engine.generate(&prompts, &mut ()).unwrap() {
        let logprob: f64 = episode.logprobs.iter().map(|&l| f64::from(l)).sum();
        let p = exact.get(&episode.response).expect("a response that cannot occur");
        assert!((logprob.exp() - p).abs() < 1e-5 * p, "{:?}", episode.response);
        *counts.entry(episode.response).or_default() += 1.0;
    }
    let cell = |(response, p): (&Vec<u32>, &f64)| {
        let expected = p * n as f64;
        (counts.get(response).unwrap_or(&0.0) - expected).powi(2) / expected
    };
    let chi2: f64 = exact.iter().map(cell).sum();
    let freedom = (exact.len() - 1) as f64;
    // Four standard deviations of a chi-square above its mean.
    assert!(chi2 < freedom + 4.0 * (2.0 * freedom).sqrt(), "{chi2} with {freedom} degrees");
}

fn softmax(history: &[u32], temperature: f64) -> Vec<f64> {
    log_softmax(&scrambled(history, VOCAB), temperature).iter().map(|l| l.exp()).collect()
}

fn renormalised(mut p: Vec<f64>, keep: impl Fn(usize, &[f64]) -> bool) -> Vec<f64> {
    let all = p.clone();
    p.iter_mut().enumerate().filter(|(i, _)| !keep(*i, &all)).for_each(|(_, p)| *p = 0.0);
    let sum: f64 = p.iter().sum();
    p.iter().map(|p| p / sum).collect()
}

#[test]
fn plain_sampling_has_the_policys_distribution() {
    check(SamplerConfig::default(), 0, &|h| softmax(h, 1.0));
}

#[test]
fn temperature_and_top_k_have_theirs() {
    let sampler = SamplerConfig { temperature: 0.5, top_k: Some(2), ..Default::default() };
    check(sampler, 0, &|h| {
        let rank = |i: usize, p: &[f64]| p.iter().filter(|q| **q > p[i]).count();
        renormalised(softmax(h, 0.5), |i, p| rank(i, p) < 2)
    });
}

#[test]
fn suppressing_the_stop_token_renormalises_the_others() {
    let min = 2;
    check(SamplerConfig::default(), min, &move |h| {
        let position = h.len() - 2;
        renormalised(softmax(h, 1.0), |i, _| i != STOP as usize || position >= min)
    });
}
