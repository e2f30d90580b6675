//! The engine over a decoder whose logits are a known function of each row's history.

mod common;

use common::{Call, Fake, log_softmax, prompt, scrambled};
use hydralign_core::{Episode, Finish, Role};
use hydralign_rollout::{
    Engine, GenerationConfig, Generator, Monitor, Progress, Prompt, RolloutError, SampleError,
    Sampler, SamplerConfig,
};
use std::ops::ControlFlow;

fn config(max_new_tokens: usize, stop: &[u32], batch_size: usize) -> GenerationConfig {
    let stop_tokens = stop.to_vec();
    GenerationConfig { max_new_tokens, stop_tokens, batch_size, ..GenerationConfig::default() }
}

fn generate(
    fake: &Fake,
    sampler: SamplerConfig,
    config: &GenerationConfig,
    prompts: &[Prompt],
) -> Result<Vec<Episode>, RolloutError> {
    let sampler = sampler.build()?;
    Engine::new(fake, Role::Actor, &sampler, config)?.generate(prompts, &mut ())
}

/// Prompts of lengths 1 to 5, out of order.
fn prompts(n: u64) -> Vec<Prompt> {
    (0..n).map(|i| prompt(&vec![i as u32 % 7; 1 + (i * 3 % 5) as usize], i)).collect()
}

#[test]
fn an_episode_depends_on_its_prompt_and_key_alone() {
    let (fake, prompts) = (Fake::new(16), prompts(23));
    for sampler in
        [SamplerConfig::default(), SamplerConfig { top_p: Some(0.8), ..Default::default() }]
    {
        let together = generate(&fake, sampler, &config(12, &[3], 16), &prompts).unwrap();
        assert!(together.iter().any(|e| e.finish == Finish::Length));
        assert!(together.iter().any(|e| e.finish == Finish::Stop));
        for batch_size in [1, 2, 5, 8, 64] {
            let config = config(12, &[3], batch_size);
            assert_eq!(generate(&fake, sampler, &config, &prompts).unwrap(), together);
        }
        let backwards: Vec<Prompt> = prompts.iter().rev().cloned().collect();
        let mut other = generate(&fake, sampler, &config(12, &[3], 4), &backwards).unwrap();
        other.reverse();
        assert_eq!(other, together);
    }
}

/// Notes what has ended, and after how many steps.
#[derive(Default)]
struct Ended {
    steps: usize,
    episodes: Vec<(usize, usize, Episode)>,
}

impl Monitor for Ended {
    fn step(&mut self, _: &Progress) -> ControlFlow<()> {
        self.steps += 1;
        ControlFlow::Continue(())
    }

    fn finished(&mut self, prompt: usize, episode: &Episode) {
        self.episodes.push((self.steps, prompt, episode.clone()));
    }
}

#[test]
fn a_monitor_is_told_of_each_response_in_the_step_in_which_it_ends() {
    let (fake, config) = (Fake::new(16), config(12, &[3], 23));
    let with_row = |(row, prompt)| Prompt { row: Some(100 + row), ..prompt };
    let prompts: Vec<Prompt> = prompts(23).into_iter().enumerate().map(with_row).collect();
    let sampler = SamplerConfig::default().build().unwrap();
    let mut ended = Ended::default();
    let engine = Engine::new(&fake, Role::Actor, &sampler, &config).unwrap();
    let all = engine.generate(&prompts, &mut ended).unwrap();
    assert_eq!(ended.episodes.len(), all.len());
    for (steps, prompt, episode) in &ended.episodes {
        assert_eq!((episode, steps + 1), (&all[*prompt], episode.response.len()));
        assert_eq!(episode.row, Some(100 + prompt));
    }
    let longest = all.iter().map(|e| e.response.len()).max().unwrap();
    assert!(ended.episodes[0].0 + 1 < longest, "some end before others");
}

#[test]
fn results_come_in_the_order_of_the_prompts() {
    let prompts = prompts(9);
    let episodes =
        generate(&Fake::new(8), SamplerConfig::default(), &config(3, &[], 2), &prompts).unwrap();
    for (episode, prompt) in episodes.iter().zip(&prompts) {
        assert_eq!(episode.prompt, prompt.tokens);
    }
}

#[test]
fn recorded_logprobs_are_those_of_the_distributions() {
    let fake = Fake::new(16);
    let sampler = SamplerConfig { temperature: 0.7, ..Default::default() };
    let episodes = generate(&fake, sampler, &config(10, &[1, 2], 4), &prompts(20)).unwrap();
    for episode in episodes {
        let mut history = episode.prompt.clone();
        for (t, &token) in episode.response.iter().enumerate() {
            let logits = scrambled(&history, 16);
            let sampled = log_softmax(&logits, 0.7f32.into())[token as usize];
            let policy = log_softmax(&logits, 1.0)[token as usize];
            assert!((f64::from(episode.logprobs[t]) - sampled).abs() < 1e-5);
            assert!((f64::from(episode.policy_logprobs[t]) - policy).abs() < 1e-5);
            history.push(token);
        }
        assert_eq!(episode.logprobs.len(), episode.response.len());
        assert_eq!(episode.policy_logprobs.len(), episode.response.len());
    }
}

#[test]
fn responses_end_at_the_first_stop_token_and_nowhere_else() {
    let stops = [1, 5];
    let episodes =
        generate(&Fake::new(16), SamplerConfig::default(), &config(9, &stops, 8), &prompts(60))
            .unwrap();
    for episode in &episodes {
        let first = episode.response.iter().position(|t| stops.contains(t));
        match episode.finish {
            Finish::Stop => assert_eq!(first, Some(episode.response.len() - 1)),
            Finish::Length => assert_eq!((first, episode.response.len()), (None, 9)),
        }
    }
    let at_the_limit = |e: &&Episode| e.response.len() == 9 && e.finish == Finish::Stop;
    assert!(episodes.iter().any(|e| at_the_limit(&e)), "a stop token may come last");
}

#[test]
fn greedy_generation_ignores_the_keys() {
    let (fake, config) = (Fake::new(16), config(8, &[3], 4));
    let first = prompts(10);
    let mut second = first.clone();
    second.iter_mut().for_each(|p| p.key.episode += 1000);
    let run =
        |prompts: &[Prompt]| generate(&fake, SamplerConfig::greedy(), &config, prompts).unwrap();
    let episodes = run(&first);
    assert_eq!(episodes, run(&second));
    for episode in &episodes {
        assert!(episode.logprobs.iter().all(|l| *l == 0.0));
        let logits = scrambled(&episode.prompt, 16);
        let best = (0..16).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        assert_eq!(episode.response[0] as usize, best);
    }
}

#[test]
fn finished_rows_leave_once_they_are_a_quarter_of_the_batch() {
    // Row i draws 0, the stop token, after it has drawn i + 1 others: its prompt counts down.
    fn countdown(history: &[u32], vocab: usize) -> Vec<f32> {
        let left = (history[0] as usize).saturating_sub(history.len() - 1);
        (0..vocab).map(|t| if (left == 0) == (t == 0) { 0.0 } else { f32::NEG_INFINITY }).collect()
    }
    let fake = Fake::with(3, countdown);
    let prompts: Vec<Prompt> = (0..8).map(|i| prompt(&[i + 1], u64::from(i))).collect();
    let episodes =
        generate(&fake, SamplerConfig::default(), &config(20, &[0], 8), &prompts).unwrap();
    let lengths: Vec<usize> = episodes.iter().map(|e| e.response.len()).collect();
    assert_eq!(lengths, [2, 3, 4, 5, 6, 7, 8, 9]);
    let decode = |rows| Call::Decode { rows };
    let retain = |rows: &[usize]| Call::Retain { rows: rows.to_vec() };
    let expected = [
        Call::Prefill { rows: 8, capacity: 20 },
        decode(8), // row 0 ends: 1 of 8 waits
        decode(8), // row 1 ends: 2 of 8
        retain(&[2, 3, 4, 5, 6, 7]),
        decode(6),
        decode(6),
        retain(&[2, 3, 4, 5]),
        decode(4),
        retain(&[1, 2, 3]),
        decode(3),
        retain(&[1, 2]),
        decode(2),
        retain(&[1]),
        decode(1),
    ];
    assert_eq!(*fake.calls.borrow(), expected);
}

#[test]
fn the_monitor_sees_each_step_and_can_end_the_generation() {
    let (fake, config, prompts) = (Fake::new(8), config(4, &[], 3), prompts(5));
    let sampler = SamplerConfig::default().build().unwrap();
    let engine = Engine::new(&fake, Role::Actor, &sampler, &config).unwrap();
    let mut seen = Vec::new();
    let mut watch = |p: &Progress| {
        seen.push((p.tokens, p.finished));
        ControlFlow::Continue(())
    };
    engine.generate(&prompts, &mut watch).unwrap();
    let expected = [(3, 0), (6, 0), (9, 0), (12, 3), (14, 3), (16, 3), (18, 3), (20, 5)];
    assert_eq!(seen, expected);
    let mut stop = |p: &Progress| match p.tokens {
        14 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let error = engine.generate(&prompts, &mut stop).unwrap_err();
    assert!(matches!(error, RolloutError::Cancelled { finished: 3, prompts: 5 }));
}

#[test]
fn misuse_is_named() {
    let fake = Fake::new(4);
    let run = |config: &GenerationConfig, prompts: &[Prompt]| {
        generate(&fake, SamplerConfig::default(), config, prompts).unwrap_err()
    };
    let good = config(3, &[1], 2);
    assert!(matches!(run(&good, &[]), RolloutError::NoPrompts));
    let empty = [prompt(&[1], 0), prompt(&[], 1)];
    assert!(matches!(run(&good, &empty), RolloutError::EmptyPrompt { prompt: 1 }));
    let never = run(&config(0, &[1], 2), &prompts(2));
    assert!(matches!(never, RolloutError::Zero { field: "max_new_tokens" }));
    let unknown = run(&config(3, &[4], 2), &prompts(2));
    assert!(matches!(unknown, RolloutError::StopToken { token: 4, vocab: 4 }));
    let all = GenerationConfig { min_new_tokens: 1, ..config(3, &[0, 1, 2, 3], 2) };
    let nothing = run(&all, &prompts(2));
    let source = SampleError::NothingLeft { suppressed: 4 };
    assert!(matches!(nothing, RolloutError::Sample { position: 0, source: s, .. } if s == source));
}

#[test]
fn a_broken_model_is_reported_with_its_place() {
    fn broken(history: &[u32], vocab: usize) -> Vec<f32> {
        vec![if history.len() == 4 { f32::NAN } else { 0.0 }; vocab]
    }
    let fake = Fake::with(4, broken);
    let prompts = [prompt(&[1], 0), prompt(&[1, 1, 1], 1)];
    let error =
        generate(&fake, SamplerConfig::default(), &config(9, &[], 2), &prompts).unwrap_err();
    assert!(matches!(error, RolloutError::Sample { prompt: 1, position: 1, .. }), "{error}");
}

#[test]
fn samplers_are_an_open_set() {
    /// Repeats what it is told.
    struct Always(u32);
    impl Sampler for Always {
        fn sample(
            &self,
            _: &[f32],
            _: &[u32],
            _: f64,
        ) -> Result<hydralign_rollout::Draw, SampleError> {
            let (logprob, policy_logprob) = (0.0, -1.0);
            Ok(hydralign_rollout::Draw { token: self.0, logprob, policy_logprob })
        }
    }
    let (fake, config) = (Fake::new(4), config(3, &[], 2));
    let boxed: Box<dyn Sampler> = Box::new(Always(2));
    let engine = Engine::new(&fake, Role::Actor, &*boxed, &config).unwrap();
    let episodes = engine.generate(&prompts(2), &mut ()).unwrap();
    assert!(episodes.iter().all(|e| e.response == [2, 2, 2]));
}

/// vLLM #9336 and others: a long prompt took room from its neighbours in the batch.
#[test]
fn the_room_of_a_row_is_its_own() {
    let prompts: Vec<Prompt> =
        (0..12).map(|i| prompt(&vec![i as u32 % 7; 1 + (i * 5 % 15) as usize], i)).collect();
    let all = GenerationConfig { max_length: Some(16), ..config(9, &[3], 5) };
    let together = generate(&Fake::new(16), SamplerConfig::default(), &all, &prompts).unwrap();
    for (episode, prompt) in together.iter().zip(&prompts) {
        let own = 9.min(16 - prompt.tokens.len());
        assert!(episode.response.len() <= own);
        if episode.finish == Finish::Length {
            assert_eq!(episode.response.len(), own);
        }
        let one = std::slice::from_ref(prompt);
        let fake = Fake::new(16);
        assert_eq!(generate(&fake, SamplerConfig::default(), &all, one).unwrap()[0], *episode);
        let first = fake.calls.borrow()[0].clone();
        assert_eq!(first, Call::Prefill { rows: 1, capacity: own });
    }
    let full = [prompt(&[1; 16], 0)];
    assert!(matches!(
        generate(&Fake::new(16), SamplerConfig::default(), &all, &full),
        Err(RolloutError::NoRoom { prompt: 0, tokens: 16, max_length: 16 })
    ));
}
