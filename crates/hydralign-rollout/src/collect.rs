use crate::{Key, Prompt};
use hydralign_core::{Episode, Finish};

/// Asks for n samples of each prompt, next to each other, with a key of their own each.
///
/// key.episode = offset + prompt · n + sample
///
/// The prompts' rows are their places in the list.
///
/// `offset` is the number of episodes drawn before with the same seed; no key repeats if each
/// call adds `prompts.len() · n` to it.
pub fn sample_prompts(prompts: &[Vec<u32>], n: usize, seed: u64, offset: u64) -> Vec<Prompt> {
    let one = |i: usize, tokens: &Vec<u32>, sample: usize| Prompt {
        tokens: tokens.clone(),
        row: Some(i),
        key: Key { seed, episode: offset.wrapping_add((i * n + sample) as u64) },
    };
    let group = |(i, tokens)| (0..n).map(move |sample| one(i, tokens, sample));
    prompts.iter().enumerate().flat_map(group).collect()
}

/// Sums over the episodes of a rollout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RolloutStats {
    /// Number of episodes.
    pub episodes: usize,
    /// Response tokens of all episodes.
    pub tokens: usize,
    /// Mean response length, in tokens, the stop token included.
    pub mean_length: f64,
    /// Longest response, in tokens.
    pub max_length: usize,
    /// Share of the episodes that ended with a stop token.
    pub stopped_fraction: f64,
}

impl RolloutStats {
    /// The statistics of at least one episode; `None` for none, which have no mean.
    pub fn of(episodes: &[Episode]) -> Option<Self> {
        let max_length = episodes.iter().map(|e| e.response.len()).max()?;
        let n = episodes.len() as f64;
        let tokens = episodes.iter().map(|e| e.response.len()).sum();
        let stopped = episodes.iter().filter(|e| e.finish == Finish::Stop).count();
        Some(Self {
            episodes: episodes.len(),
            tokens,
            mean_length: tokens as f64 / n,
            max_length,
            stopped_fraction: stopped as f64 / n,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn samples_of_a_prompt_lie_together_and_no_key_repeats() {
        let prompts = vec![vec![1], vec![2, 3], vec![1]];
        let first = sample_prompts(&prompts, 4, 9, 100);
        assert_eq!(first.len(), 12);
        let key = Key { seed: 9, episode: 104 };
        assert_eq!(first[4], Prompt { tokens: vec![2, 3], row: Some(1), key });
        let second = sample_prompts(&prompts, 4, 9, 112);
        let keys: BTreeSet<Key> = first.iter().chain(&second).map(|p| p.key).collect();
        assert_eq!(keys.len(), 24);
        assert!(sample_prompts(&prompts, 0, 9, 0).is_empty());
    }

    #[test]
    fn statistics_count_tokens_and_stops() {
        let episode = |n: usize, finish| Episode {
            prompt: vec![1],
            row: None,
            response: vec![2; n],
            logprobs: vec![0.0; n],
            policy_logprobs: vec![0.0; n],
            finish,
        };
        let episodes =
            [episode(1, Finish::Stop), episode(5, Finish::Length), episode(3, Finish::Stop)];
        let stats = RolloutStats::of(&episodes).unwrap();
        assert_eq!((stats.episodes, stats.tokens, stats.max_length), (3, 9, 5));
        assert_eq!(stats.mean_length, 3.0);
        assert!((stats.stopped_fraction - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(RolloutStats::of(&[]), None);
    }
}
