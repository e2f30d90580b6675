//! Bugs of other projects that concern rollout, each as a test that would have caught it.

mod common;

use common::{Fake, log_softmax, prompt, scrambled};
use hydralign_core::{Episode, Finish, Role, TokenBatch};
use hydralign_rollout::{Engine, GenerationConfig, Generator, Prompt, SamplerConfig};

const VOCAB: usize = 6;

fn run(sampler: SamplerConfig, config: &GenerationConfig, n: u64) -> Vec<Episode> {
    let (fake, sampler) = (Fake::new(VOCAB), sampler.build().unwrap());
    let engine = Engine::new(&fake, Role::Actor, &sampler, config).unwrap();
    let prompts: Vec<Prompt> = (0..n).map(|i| prompt(&[1 + i as u32 % 4, 0], i)).collect();
    engine.generate(&prompts, &mut ()).unwrap()
}

fn config(max_new_tokens: usize, min_new_tokens: usize, stop: u32) -> GenerationConfig {
    GenerationConfig {
        max_new_tokens,
        min_new_tokens,
        stop_tokens: vec![stop],
        batch_size: 8,
        max_length: None,
    }
}

/// The trainer's view: log-probabilities of the response under the policy, read afterwards.
fn reread(episode: &Episode) -> Vec<f64> {
    let mut history = episode.prompt.clone();
    let read = |&token: &u32| {
        let logprob = log_softmax(&scrambled(&history, VOCAB), 1.0)[token as usize];
        history.push(token);
        logprob
    };
    episode.response.iter().map(read).collect()
}

/// OpenRLHF issue #238: an EOS written over the last token of a truncated response was trained
/// on as if the policy had chosen it.
#[test]
fn no_stop_token_is_forced_at_the_length_limit() {
    let episodes = run(SamplerConfig::default(), &config(3, 0, 5), 200);
    let truncated: Vec<_> = episodes.iter().filter(|e| e.finish == Finish::Length).collect();
    assert!(truncated.len() > 20);
    for episode in truncated {
        assert_eq!(episode.response.len(), 3);
        assert!(!episode.response.contains(&5));
        for (recorded, reread) in episode.logprobs.iter().zip(reread(episode)) {
            assert!((f64::from(*recorded) - reread).abs() < 1e-5);
        }
    }
}

/// TRL issues #262 and #1161: with a minimal length the stop token was suppressed while sampling,
/// but the log-probabilities of the unsuppressed policy stood for the sampled distribution; the
/// estimated KL went negative.
#[test]
fn the_kl_of_suppressed_sampling_to_the_policy_is_not_negative() {
    let episodes = run(SamplerConfig::default(), &config(6, 4, 5), 300);
    let mut kl = 0.0;
    for episode in &episodes {
        assert!(episode.response.len() >= 5, "four tokens, then a stop token or a fifth");
        assert!(!episode.response[..4].contains(&5));
        for (t, (sampled, policy)) in
            episode.logprobs.iter().zip(&episode.policy_logprobs).enumerate()
        {
            let difference = f64::from(sampled - policy);
            kl += difference;
            // p = π / (1 − π(stop)) while it is suppressed: strictly above, and by how much.
            let history = [&episode.prompt[..], &episode.response[..t]].concat();
            let stop = log_softmax(&scrambled(&history, VOCAB), 1.0)[5].exp();
            let expected = if t < 4 { -(-stop).ln_1p() } else { 0.0 };
            assert!((difference - expected).abs() < 1e-5);
        }
    }
    assert!(kl > 0.0);
}

/// Megatron-Bridge issue #4660, DeepSpeedExamples issue #672, gpt-neox issue #1285 and others:
/// where the pad token equals EOS, masking by token id removed the real EOS, or ended a response
/// at one. Token 0 is here what batches are padded with, what stops, and a part of every prompt.
#[test]
fn a_stop_token_that_equals_the_pad_is_a_real_token() {
    let episodes = run(SamplerConfig::default(), &config(7, 0, 0), 100);
    let batch = TokenBatch::from_episodes(&episodes).unwrap();
    let (targets, mut read) = (batch.targets(), 0);
    for episode in &episodes {
        let real = &targets[read..read + episode.response.len()];
        assert_eq!(real, episode.response, "no token is lost behind a mask");
        let stops = real.iter().filter(|t| **t == 0).count();
        assert_eq!(stops, usize::from(episode.finish == Finish::Stop));
        read += episode.response.len();
    }
    assert_eq!(read, targets.len());
    assert!(episodes.iter().any(|e| e.finish == Finish::Stop && e.response.len() > 1));
}

/// TRL issues #454 and #3867, verl pull request #2953: log-probabilities of the truncated
/// distribution and those recomputed by the trainer were mixed up, so that the ratio was not 1 at
/// the first step.
#[test]
fn both_logprobs_of_a_truncated_sample_are_kept_apart() {
    let sampler = SamplerConfig {
        temperature: 0.6,
        top_k: Some(4),
        top_p: Some(0.8),
        min_p: Some(0.05),
        greedy: false,
    };
    let episodes = run(sampler, &config(5, 0, 5), 100);
    let mut apart = 0;
    for episode in &episodes {
        for (t, policy) in reread(episode).into_iter().enumerate() {
            let ratio = (f64::from(episode.policy_logprobs[t]) - policy).exp();
            assert!((ratio - 1.0).abs() < 1e-5, "ratio {ratio}");
            apart += usize::from((episode.logprobs[t] - episode.policy_logprobs[t]).abs() > 0.01);
        }
    }
    assert!(apart > 100, "the distributions differ, and so do their log-probabilities");
    // Without truncation they are the same number, to the last bit.
    for episode in run(SamplerConfig::default(), &config(5, 0, 5), 100) {
        assert_eq!(episode.logprobs, episode.policy_logprobs);
    }
}
