use crate::{Generator, Key, Monitor, Progress, Prompt, RolloutError};
use hydralign_core::random::splitmix64;
use hydralign_core::{CoreError, Episode, Finish, Sequence};
use std::ops::ControlFlow;

/// Block-wise best-of-K: each response grows by the best of K continuations (Mudgal et al. 2023,
/// "Controlled Decoding", §3.3).
///
/// Every round draws K continuations of every unfinished response with the generator, whose maximal
/// length is the block, scores the prefixes that they end in, and keeps the best. With blocks as long
/// as a response it is best-of-N.
pub struct Blockwise<'a, G: ?Sized, V> {
    generator: &'a G,
    values: V,
    continuations: usize,
    max_new_tokens: usize,
    max_length: Option<usize>,
}

impl<'a, G, V> Blockwise<'a, G, V>
where
    G: Generator + ?Sized,
    V: Fn(&[Sequence]) -> Result<Vec<f32>, CoreError>,
{
    /// A generator of blocks, the value of a prefix, K, and the longest response.
    ///
    /// # Errors
    /// [`RolloutError::Zero`] for counts of 0.
    pub fn new(
        generator: &'a G,
        values: V,
        continuations: usize,
        max_new_tokens: usize,
    ) -> Result<Self, RolloutError> {
        for (field, count) in [("continuations", continuations), ("max_new_tokens", max_new_tokens)]
        {
            if count == 0 {
                return Err(RolloutError::Zero { field });
            }
        }
        Ok(Self { generator, values, continuations, max_new_tokens, max_length: None })
    }

    /// The same with an end where prompt and response together have so many tokens, as the generator's
    /// own [`max_length`](crate::GenerationConfig::max_length).
    #[must_use]
    pub fn with_max_length(self, max_length: Option<usize>) -> Self {
        Self { max_length, ..self }
    }

    /// Longest response to a prompt.
    fn room(&self, prompt: &Prompt) -> usize {
        let left =
            self.max_length.map_or(usize::MAX, |all| all.saturating_sub(prompt.tokens.len()));
        self.max_new_tokens.min(left)
    }

    /// K continuations of each unfinished response, one response after the other.
    fn blocks(
        &self,
        open: &[&Growing],
        round: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Episode>, RolloutError> {
        let prompt = |g: &Growing, k: usize| {
            let tokens = [g.prompt.tokens.as_slice(), &g.episode.response].concat();
            let number = (round * self.continuations + k) as u64;
            let seed = splitmix64(g.prompt.key.seed, number + 1);
            let key = Key { seed, episode: g.prompt.key.episode };
            Prompt { tokens, row: g.prompt.row, key }
        };
        let prompts: Vec<Prompt> =
            open.iter().flat_map(|g| (0..self.continuations).map(|k| prompt(g, k))).collect();
        self.generator.generate(&prompts, &mut StepsOnly(monitor))
    }
}

/// Tells of steps alone: the blocks are no responses.
struct StepsOnly<'m>(&'m mut dyn Monitor);

impl Monitor for StepsOnly<'_> {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.0.step(progress)
    }
}

/// A response that still grows.
struct Growing<'p> {
    prompt: &'p Prompt,
    episode: Episode,
    done: bool,
}

impl<'p> Growing<'p> {
    fn new(prompt: &'p Prompt) -> Self {
        let episode = Episode {
            prompt: prompt.tokens.clone(),
            row: prompt.row,
            response: Vec::new(),
            logprobs: Vec::new(),
            policy_logprobs: Vec::new(),
            finish: Finish::Length,
        };
        Self { prompt, episode, done: false }
    }

    /// Takes over a block, at most up to the longest response.
    fn grow(&mut self, block: &Episode, longest: usize) {
        let room = longest - self.episode.response.len();
        let taken = block.response.len().min(room);
        self.episode.response.extend(&block.response[..taken]);
        self.episode.logprobs.extend(&block.logprobs[..taken]);
        self.episode.policy_logprobs.extend(&block.policy_logprobs[..taken]);
        if block.finish == Finish::Stop && taken == block.response.len() {
            self.episode.finish = Finish::Stop;
            self.done = true;
        }
        self.done |= self.episode.response.len() == longest;
    }
}

impl<G, V> Generator for Blockwise<'_, G, V>
where
    G: Generator + ?Sized,
    V: Fn(&[Sequence]) -> Result<Vec<f32>, CoreError>,
{
    /// The log-probabilities of the episodes are those of the generator's draws: the choice between
    /// blocks is not part of them.
    fn generate(
        &self,
        prompts: &[Prompt],
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Episode>, RolloutError> {
        let mut all: Vec<Growing> = prompts.iter().map(Growing::new).collect();
        let mut round = 0;
        while all.iter().any(|g| !g.done) {
            let open: Vec<usize> = (0..all.len()).filter(|&i| !all[i].done).collect();
            let growing: Vec<&Growing> = open.iter().map(|&i| &all[i]).collect();
            let blocks = self.blocks(&growing, round, monitor)?;
            // A prefix is the prompt and what is there so far; the block is what is scored.
            let grown: Vec<Sequence> = blocks.iter().map(Sequence::from).collect();
            let values = (self.values)(&grown)?;
            if values.len() != grown.len() {
                let (expected, got) = (grown.len(), values.len());
                return Err(CoreError::ScoreCount { expected, got }.into());
            }
            if let Some(episode) = values.iter().position(|v| !v.is_finite()) {
                let score = values[episode];
                return Err(CoreError::ScoreNotFinite { episode, score }.into());
            }
            for (n, &i) in open.iter().enumerate() {
                let own = n * self.continuations..(n + 1) * self.continuations;
                let best = own.reduce(|a, b| if values[b] > values[a] { b } else { a });
                let best = best.expect("at least one continuation");
                let longest = self.room(all[i].prompt);
                all[i].grow(&blocks[best], longest);
                if all[i].done {
                    monitor.finished(i, &all[i].episode);
                }
            }
            round += 1;
        }
        Ok(all.into_iter().map(|g| g.episode).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Continues with two tokens that count the draws; the stop token 9 comes after six tokens.
    fn counting(prompts: &[Prompt], _: &mut dyn Monitor) -> Result<Vec<Episode>, RolloutError> {
        let block = |(k, p): (usize, &Prompt)| {
            let last = p.tokens.len() >= 7;
            let response = if last { vec![9] } else { vec![k as u32 % 3, 5] };
            Episode {
                prompt: p.tokens.clone(),
                row: p.row,
                logprobs: vec![-1.0; response.len()],
                policy_logprobs: vec![-2.0; response.len()],
                finish: if last { Finish::Stop } else { Finish::Length },
                response,
            }
        };
        Ok(prompts.iter().enumerate().map(block).collect())
    }

    struct Counting;
    impl Generator for Counting {
        fn generate(
            &self,
            p: &[Prompt],
            m: &mut dyn Monitor,
        ) -> Result<Vec<Episode>, RolloutError> {
            counting(p, m)
        }
    }

    fn prompts(n: usize) -> Vec<Prompt> {
        (0..n)
            .map(|i| Prompt {
                tokens: vec![7],
                row: Some(i),
                key: Key { seed: 1, episode: i as u64 },
            })
            .collect()
    }

    /// Prefers blocks that begin with a low number.
    fn low_first(rows: &[Sequence]) -> Result<Vec<f32>, CoreError> {
        Ok(rows.iter().map(|s| -(s.response[0] as f32)).collect())
    }

    #[test]
    fn the_best_block_is_kept_until_the_stop_token() {
        let grower = Blockwise::new(&Counting, low_first, 3, 99).unwrap();
        let episodes = grower.generate(&prompts(2), &mut ()).unwrap();
        for (i, e) in episodes.iter().enumerate() {
            assert_eq!((e.response.as_slice(), e.row), (&[0, 5, 0, 5, 0, 5, 9][..], Some(i)));
            assert_eq!((e.logprobs.len(), e.policy_logprobs[3], e.finish), (7, -2.0, Finish::Stop));
        }
    }

    #[test]
    fn responses_end_at_their_limit_in_the_middle_of_a_block() {
        let grower = Blockwise::new(&Counting, low_first, 2, 3).unwrap();
        let episodes = grower.generate(&prompts(1), &mut ()).unwrap();
        assert_eq!(
            (episodes[0].response.as_slice(), episodes[0].finish),
            (&[0, 5, 0][..], Finish::Length)
        );
    }

    #[test]
    fn responses_end_where_their_own_context_does() {
        let grower = Blockwise::new(&Counting, low_first, 2, 99).unwrap().with_max_length(Some(5));
        let long = Prompt { tokens: vec![7; 3], row: Some(1), key: Key { seed: 1, episode: 9 } };
        let all: Vec<Prompt> = prompts(1).into_iter().chain([long]).collect();
        let episodes = grower.generate(&all, &mut ()).unwrap();
        let lengths: Vec<usize> = episodes.iter().map(|e| e.response.len()).collect();
        assert_eq!(lengths, [4, 2]);
        assert!(episodes.iter().all(|e| e.finish == Finish::Length));
    }

    #[test]
    fn bad_values_and_counts_are_refused() {
        let short = |_: &[Sequence]| Ok(vec![0.0]);
        let grower = Blockwise::new(&Counting, short, 2, 9).unwrap();
        assert!(grower.generate(&prompts(1), &mut ()).is_err());
        let nan = |rows: &[Sequence]| Ok(vec![f32::NAN; rows.len()]);
        let grower = Blockwise::new(&Counting, nan, 2, 9).unwrap();
        assert!(grower.generate(&prompts(1), &mut ()).is_err());
        assert!(Blockwise::new(&Counting, low_first, 0, 9).is_err());
        assert!(Blockwise::new(&Counting, low_first, 1, 0).is_err());
    }
}
