//! What is done when numbers, rewards or responses go bad, and that it is the same however the run was cut; and disks
//! without room.

mod common;

use common::records::{Watch, assert_same};
use common::{STOP, checkpoint, learner, ppo_config, prompts};
use hydralign::algorithms::{LearnerRecord, TokenWeights, nll_batch};
use hydralign::core::{CoreError, Loss, Objective, Outputs};
use hydralign::prelude::*;
use hydralign::runs::{Schedule, StopFlag};
use hydralign::train::{
    Checkpoints, Context, CriticFreeRecipe, Evaluate, Guards, Limit, OnFault, OnNumbers, PpoRecipe,
    Recipe, Sampling, Stateless, TimedReward, TrainError, Trained, Trainer, Values,
};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

/// A loss that is NaN.
struct Poisoned;

impl Objective for Poisoned {
    type Batch = TokenWeights;

    fn reads(&self) -> Vec<Request> {
        Nll.reads()
    }

    fn loss(&self, outputs: &Outputs, batch: &TokenWeights) -> Result<Loss, CoreError> {
        let loss = Nll.loss(outputs, batch)?;
        Ok(Loss { value: loss.value.mul_scalar(f32::NAN), ..loss })
    }
}

/// Eight steps of two optimizer steps each. Within some, the second has a loss that is NaN, unless the rate is small.
#[derive(Clone)]
struct Supervision {
    /// Steps with NaN.
    bad: Vec<usize>,
    /// Steps that do nothing.
    without: Vec<usize>,
    /// What rates are multiplied by from a step on.
    slower: Option<(usize, f64)>,
    /// The scale at which nothing is NaN any more.
    good_at: f64,
}

const PLAIN: Supervision =
    Supervision { bad: Vec::new(), without: Vec::new(), slower: None, good_at: 0.25 };

impl Recipe<Learner<ModelBank>> for Supervision {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        Ok((8, Stateless {}))
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<ModelBank>,
        _: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        if self.without.contains(&step) {
            return Ok(Values::new());
        }
        let slower = self.slower.filter(|(from, _)| step >= *from).map_or(1.0, |(_, by)| by);
        let lr = 0.02 / step as f64 * slower * context.lr_scale;
        let row = Sequence::new(prompts()[step % 4].clone(), vec![9, 4, STOP]);
        let batch = nll_batch(&[row], 1, &Device::flex())?;
        learner.step(&Nll, &batch, lr)?;
        if self.bad.contains(&step) && context.lr_scale > self.good_at {
            learner.step(&Poisoned, &batch, lr)?;
        }
        let loss = learner.step(&Nll, &batch, lr)?.loss;
        Ok(vec![("loss".into(), loss), ("lr".into(), lr)])
    }
}

/// What a run came to, its statistics, and what was said.
type Outcome = (Trained<Learner<ModelBank>>, Vec<Stats>, Vec<String>);

fn train<R: Recipe<Learner<ModelBank>>>(
    recipe: &R,
    fresh: Learner<ModelBank>,
    guards: &Guards,
    part: Option<(&Path, usize)>,
) -> Outcome {
    let stop = StopFlag::new();
    let at = part.map_or(usize::MAX, |(_, until)| until);
    let mut watch = Watch { stop: &stop, at, seen: Vec::new() };
    let said = RefCell::new(Vec::new());
    let tell = |text: &str| said.borrow_mut().push(text.to_owned());
    let trainer = Trainer {
        checkpoints: part.map(|(folder, _)| Checkpoints::new(folder, "run", 3, 1)),
        guards: guards.clone(),
        tell: &tell,
        ..Trainer::new("stage", &stop)
    };
    let trained = trainer.train(recipe, fresh, &mut watch).unwrap();
    let seen = watch.seen;
    (trained, seen, said.into_inner())
}

fn start() -> LearnerRecord {
    learner(&Placement::sft(), &checkpoint()).to_record().unwrap()
}

fn fresh(start: &LearnerRecord) -> Learner<ModelBank> {
    learner(&Placement::sft(), &checkpoint()).with_record(start.clone()).unwrap()
}

/// The run, cut after each of its steps and after every one, is the run that is not cut; and it learnt what
/// `expected` does.
fn assert_guards(
    bad: &Supervision,
    guards: &Guards,
    expected: &Supervision,
) -> (Vec<Stats>, Vec<String>) {
    let start = start();
    let (other, ..) = train(expected, fresh(&start), &Guards::default(), None);
    other.ended.unwrap();
    let (whole, stats, said) = train(bad, fresh(&start), guards, None);
    whole.ended.unwrap();
    assert_eq!((whole.progress.done, whole.progress.begun), (8, false));
    let record = whole.learner.to_record().unwrap();
    assert_same(&record, &other.learner.to_record().unwrap(), "as without the bad steps");
    let cuts = (1..8).map(|cut| vec![cut, usize::MAX]).chain([(1..=8).collect()]);
    for cuts in cuts {
        let folder = tempfile::tempdir().unwrap();
        let (mut last, mut seen, mut again) = (None, Vec::new(), Vec::new());
        for &cut in &cuts {
            let (trained, stats, said) =
                train(bad, fresh(&start), guards, Some((folder.path(), cut)));
            trained.ended.unwrap();
            last = Some(trained.learner.to_record().unwrap());
            seen.extend(stats);
            again.extend(said);
        }
        assert_same(&last.unwrap(), &record, &format!("cut at {cuts:?}"));
        assert_eq!((&seen, &again), (&stats, &said), "cut at {cuts:?}");
    }
    (stats, said)
}

#[test]
fn unless_told_otherwise_a_run_ends_with_the_last_good_weights() {
    let bad = Supervision { bad: vec![3], ..PLAIN };
    let (ended, stats, said) = train(&bad, fresh(&start()), &Guards::default(), None);
    let error = ended.ended.unwrap_err();
    assert!(error.is_numerical() && error.to_string().contains("step 3"), "{error}");
    assert_eq!((ended.progress.done, ended.progress.begun, stats.len()), (2, true, 2));
    assert_eq!(ended.learner.steps(), 5);
    assert!(said.is_empty());
}

#[test]
fn a_step_with_nan_is_left_out_whole() {
    let bad = Supervision { bad: vec![3, 6], ..PLAIN };
    let expected = Supervision { without: vec![3, 6], ..PLAIN };
    let guards = Guards { non_finite: OnNumbers::Skip, ..Guards::default() };
    let (stats, said) = assert_guards(&bad, &guards, &expected);
    assert_eq!(stats[2].values, [("guard_skipped".to_owned(), 1.0)]);
    assert!(stats[3].get("loss").is_some() && stats[3].get("guard_skipped").is_none());
    assert_eq!(said.len(), 2);
    assert!(said[0].contains("step 3 is left out: the loss is NaN"), "{said:?}");
}

#[test]
fn a_step_with_nan_is_taken_again_at_half_the_rate_until_it_is_good() {
    let bad = Supervision { bad: vec![3, 6], ..PLAIN };
    let expected = Supervision { slower: Some((3, 0.25)), ..PLAIN };
    let guards = Guards { non_finite: OnNumbers::Halve, ..Guards::default() };
    let (stats, said) = assert_guards(&bad, &guards, &expected);
    let halved: Vec<Option<f64>> = stats.iter().map(|s| s.get("guard_halved")).collect();
    assert_eq!(halved, [None, None, Some(2.0), None, None, None, None, None]);
    assert_eq!(stats[2].get("lr"), Some(0.02 / 3.0 * 0.25));
    assert!(said.len() == 2 && said[1].contains("again at 0.25 times the rate"), "{said:?}");
}

/// Is asked to stop when a step is taken again.
struct Stopping(Supervision, Cell<bool>);

impl Recipe<Learner<ModelBank>> for Stopping {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.0.begin()
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<ModelBank>,
        state: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        if context.lr_scale < 1.0 && self.1.take() {
            context.stop.stop();
            return Err(TrainError::Stopped);
        }
        self.0.step(step, learner, state, context)
    }
}

#[test]
fn a_stop_between_two_tries_is_a_cut_before_both() {
    let (start, folder) = (start(), tempfile::tempdir().unwrap());
    let bad = Supervision { bad: vec![3], ..PLAIN };
    let guards = Guards { non_finite: OnNumbers::Halve, ..Guards::default() };
    let (whole, stats, _) = train(&bad, fresh(&start), &guards, None);
    let stopping = Stopping(bad, Cell::new(true));
    let mut seen = Vec::new();
    for done in [2, 8] {
        let part = Some((folder.path(), usize::MAX));
        let (trained, stats, _) = train(&stopping, fresh(&start), &guards, part);
        trained.ended.unwrap();
        assert_eq!(trained.progress.done, done);
        seen.extend(stats);
        if done == 8 {
            let record = |learner: &Learner<ModelBank>| learner.to_record().unwrap();
            assert_same(&record(&trained.learner), &record(&whole.learner), "after a stop");
        }
    }
    assert_eq!(seen, stats);
}

#[test]
fn guards_act_so_often_in_a_row_and_no_more() {
    let bad = Supervision { bad: (2..=8).collect(), good_at: 0.0, ..PLAIN };
    for (action, steps, done) in [(OnNumbers::Skip, 2, 4), (OnNumbers::Halve, 2, 1)] {
        let guards = Guards { non_finite: action, most: 3, ..Guards::default() };
        let (ended, stats, said) = train(&bad, fresh(&start()), &guards, None);
        let error = ended.ended.unwrap_err();
        assert!(error.is_numerical() && error.to_string().contains("3 times in a row"), "{error}");
        assert_eq!((ended.progress.done, stats.len(), said.len()), (done, done, 3), "{action}");
        // What was undone is undone: the weights are those after the first step.
        assert_eq!((ended.learner.steps(), ended.progress.begun), (steps, false), "{action}");
    }
}

fn grpo<'a>(prompts: &'a [Vec<u32>], reward: &'a dyn Reward) -> CriticFreeRecipe<'a> {
    CriticFreeRecipe {
        method: CriticFreeConfig::grpo(),
        sampling: Sampling {
            prompts_per_round: 3,
            samples: 2,
            seed: 7,
            ..Sampling::new(
                prompts,
                GenerationConfig {
                    max_new_tokens: 6,
                    stop_tokens: vec![STOP],
                    ..GenerationConfig::default()
                },
            )
        },
        sampling_rounds: 1,
        reward,
        steps: 5,
        lr: Schedule::constant(0.01),
        device: Device::flex(),
    }
}

fn policy() -> Learner<ModelBank> {
    learner(&Placement::policy("policy", true, false), &checkpoint())
}

struct Small;

impl Reward for Small {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let small = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
        Ok(episodes.iter().map(small).collect())
    }
}

/// A reward whose second call fails.
struct Failing(Cell<usize>);

impl Reward for Failing {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        self.0.set(self.0.get() + 1);
        match self.0.get() {
            2 => Err(CoreError::Other("the judge is asleep".into())),
            _ => Small.score(episodes),
        }
    }
}

#[test]
fn a_reward_that_fails_ends_the_run_or_leaves_the_step_out() {
    let prompts = prompts();
    let failing = || Failing(Cell::new(0));
    let (one, two) = (failing(), failing());
    let (ended, stats, _) = train(&grpo(&prompts, &one), policy(), &Guards::default(), None);
    let error = ended.ended.unwrap_err();
    assert!(error.is_of_reward() && !error.is_numerical());
    assert!(
        error.to_string().contains("step 2") && error.to_string().contains("asleep"),
        "{error}"
    );
    assert_eq!(stats.len(), 1);
    let guards = Guards { reward: OnFault::Skip, ..Guards::default() };
    let (ended, stats, said) = train(&grpo(&prompts, &two), policy(), &guards, None);
    ended.ended.unwrap();
    assert_eq!((stats.len(), said.len()), (5, 1));
    assert_eq!(stats[1].values, [("guard_skipped".to_owned(), 1.0)]);
    assert!(said[0].contains("step 2 is left out") && said[0].contains("asleep"), "{said:?}");
}

#[test]
fn an_evaluation_whose_reward_fails_is_left_out_as_a_step_is() {
    let measured = |trained: &Learner<ModelBank>| -> Result<Values, TrainError> {
        match trained.steps() {
            8 => Err(CoreError::Reward(Box::new(CoreError::Other("asleep".into()))).into()),
            steps => Ok(vec![("steps".into(), steps as f64)]),
        }
    };
    let run = |reward| {
        let (stop, said) = (StopFlag::new(), RefCell::new(Vec::new()));
        let tell = |text: &str| said.borrow_mut().push(text.to_owned());
        let mut watch = Watch { stop: &stop, at: usize::MAX, seen: Vec::new() };
        let trainer = Trainer {
            evaluation: Some(Evaluate { every: 2, evaluation: &measured }),
            guards: Guards { reward, ..Guards::default() },
            tell: &tell,
            ..Trainer::new("stage", &stop)
        };
        let ended = trainer.train(&PLAIN, fresh(&start()), &mut watch).unwrap().ended;
        let seen: Vec<_> = watch.seen.iter().map(|s| s.get("eval_steps")).collect();
        (ended, seen, said.into_inner())
    };
    let (ended, seen, _) = run(OnFault::Stop);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("step 4, phase evaluate") && error.contains("asleep"), "{error}");
    assert_eq!(seen, [None, Some(4.0), None, None], "the step itself is reported");
    let (ended, seen, said) = run(OnFault::Skip);
    ended.unwrap();
    assert_eq!(seen, [None, Some(4.0), None, None, None, Some(12.0), None, Some(16.0)]);
    assert!(said.len() == 1 && said[0].contains("step 4 is not evaluated"), "{said:?}");
}

#[test]
fn a_reward_that_hangs_or_panics_is_an_error_in_time() {
    let (asleep, limit) = (Duration::from_secs(30), Duration::from_millis(50));
    let hangs = TimedReward::new(
        episode_fn(move |episodes: &[Episode]| {
            std::thread::sleep(asleep);
            vec![0.0; episodes.len()]
        }),
        limit,
    );
    let prompts = prompts();
    let began = Instant::now();
    let (ended, ..) = train(&grpo(&prompts, &hangs), policy(), &Guards::default(), None);
    let error = ended.ended.unwrap_err();
    assert!(began.elapsed() < asleep / 2, "{:?}", began.elapsed());
    assert!(error.is_of_reward() && error.to_string().contains("no answer within 50ms"), "{error}");
    let panics =
        TimedReward::new(episode_fn(|_: &[Episode]| -> Vec<f32> { panic!("a bad rule") }), asleep);
    let error = panics.score(&[]).unwrap_err().to_string();
    assert!(error.contains("it panicked: a bad rule"), "{error}");
    // One that answers is the reward itself.
    let timed = TimedReward::new(Small, asleep);
    let (with, with_stats, _) = train(&grpo(&prompts, &timed), policy(), &Guards::default(), None);
    let (bare, stats, _) = train(&grpo(&prompts, &Small), policy(), &Guards::default(), None);
    assert_eq!(with_stats, stats);
    assert_eq!(common::parameters(with.learner.model()), common::parameters(bare.learner.model()));
}

#[test]
fn a_rollout_of_empty_responses_ends_the_run_or_is_left_out() {
    let prompts = prompts();
    let mut recipe = grpo(&prompts, &Small);
    recipe.sampling.generation.stop_tokens = (0..17).collect();
    let (ended, ..) = train(&recipe, policy(), &Guards::default(), None);
    let error = ended.ended.unwrap_err().to_string();
    assert!(error.contains("all 6 responses are empty"), "{error}");
    let guards = Guards { empty: OnFault::Skip, ..Guards::default() };
    let (ended, stats, said) = train(&recipe, policy(), &guards, None);
    ended.ended.unwrap();
    assert!(stats.iter().all(|s| s.values == [("guard_skipped".to_owned(), 1.0)]), "{stats:?}");
    assert_eq!((ended.learner.steps(), said.len()), (0, 5));
}

/// The KL and the entropy of a run without guards, and what guards at these numbers do.
#[test]
fn a_kl_above_its_limit_and_an_entropy_below_its_own_are_seen() {
    let prompts = prompts();
    let recipe = grpo(&prompts, &Small);
    let (_, free, _) = train(&recipe, policy(), &Guards::default(), None);
    let of = |name: &str| -> Vec<f64> { free.iter().map(|s| s.get(name).unwrap()).collect() };
    let (kl, entropy) = (of("kl"), of("entropy"));
    let first = kl.iter().position(|&kl| kl > 1e-3).unwrap();
    assert!((1..4).contains(&first), "{kl:?}");
    let at = |at, action| Some(Limit { at, action });
    let run = |guards: Guards| train(&recipe, policy(), &guards, None);
    let (ended, stats, _) = run(Guards { kl: at(1e-3, OnNumbers::Stop), ..Guards::default() });
    let error = ended.ended.unwrap_err().to_string();
    assert!(error.contains("kl is") && error.contains("above the limit of 0.001"), "{error}");
    assert_eq!((ended.progress.done, stats.len()), (first + 1, first + 1), "it is reported");
    let (ended, stats, said) = run(Guards { kl: at(1e-3, OnNumbers::Halve), ..Guards::default() });
    ended.ended.unwrap();
    let lr = |step: usize| stats[step].get("lr").unwrap();
    assert_eq!((lr(first), lr(first + 1)), (0.01, 0.005), "from the next step on");
    assert_eq!(stats[first].get("guard_halved"), Some(1.0));
    assert!(said[0].contains(&format!("from step {}", first + 2)), "{said:?}");
    let (ended, stats, _) = run(Guards { kl: at(1e-3, OnNumbers::Skip), ..Guards::default() });
    ended.ended.unwrap();
    assert_eq!(stats[first].get("guard_skipped"), Some(1.0));
    assert_eq!(stats[first].get("kl"), Some(kl[first]), "what was measured is reported");
    let low = Guards { entropy: at(entropy[0] + 1e-3, OnNumbers::Stop), ..Guards::default() };
    let error = run(low).0.ended.unwrap_err().to_string();
    assert!(error.contains("entropy is") && error.contains("below the limit"), "{error}");
    let high = Guards {
        kl: at(1e9, OnNumbers::Stop),
        entropy: at(0.0, OnNumbers::Stop),
        ..Guards::default()
    };
    assert_eq!(run(high).1, free, "within the limits nothing changes");
}

#[test]
fn limits_that_cannot_be_meant_are_refused() {
    let at = |at| Some(Limit { at, action: OnNumbers::Stop });
    let refused = [
        Guards { most: 0, ..Guards::default() },
        Guards { kl: at(0.0), ..Guards::default() },
        Guards { kl: at(f64::NAN), ..Guards::default() },
        Guards { entropy: at(-1.0), ..Guards::default() },
        Guards { entropy: at(f64::INFINITY), ..Guards::default() },
    ];
    assert!(refused.iter().all(|guards| guards.validate().is_err()));
    assert!("pause".parse::<OnNumbers>().unwrap_err().contains("stop, skip, halve"));
    assert_eq!("halve".parse::<OnNumbers>().unwrap().to_string(), "halve");
    assert!("halve".parse::<OnFault>().is_err());
}

#[cfg(unix)]
#[test]
fn a_disk_without_room_is_named_before_anything_is_computed() {
    let (folder, stop, prompts) = (tempfile::tempdir().unwrap(), StopFlag::new(), prompts());
    let ppo = PpoRecipe {
        ppo: ppo_config(),
        ..PpoRecipe::new(grpo(&prompts, &Small).sampling, 2, &Device::flex())
    };
    let train = |beside: u64| {
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), "run", 1, 2);
        let checkpoints = Some(checkpoints.beside(beside));
        let trainer = Trainer { checkpoints, ..Trainer::new("ppo", &stop) };
        trainer.train(&ppo, learner(&Placement::j_hydra_ppo(), &checkpoint()), &mut ())
    };
    let said = train(1 << 62).err().unwrap().to_string();
    assert!(said.starts_with("no room for 3 checkpoints and the model on the disk of"), "{said}");
    assert!(said.contains(": 461168601842"), "{said}");
    assert!(!folder.path().join("checkpoints").exists());
    train(0).unwrap().ended.unwrap();
}

/// The room that a run asks for is what its checkpoints take.
#[test]
fn the_room_of_a_checkpoint_is_known_before_the_first_step() {
    let mut learner = learner(&Placement::sft(), &checkpoint());
    let before = learner.to_record().unwrap();
    let row = Sequence::new(vec![2, 3], vec![9, 4, STOP]);
    let batch = nll_batch(&[row], 1, &Device::flex()).unwrap();
    learner.step(&Nll, &batch, 0.01).unwrap();
    let after = learner.to_record().unwrap();
    let (known, taken) = (before.largest_bytes() as f64, after.bytes() as f64);
    assert!((known / taken - 1.0).abs() < 0.25, "{known} bytes known, {taken} taken");
    assert!(after.largest_bytes() >= after.bytes());
}
