//! What is measured during training changes nothing in it; the best checkpoint and early stopping are the same however
//! the run was cut.

mod common;

use common::records::{Watch, assert_same, tensors};
use common::{STOP, checkpoint, learner, ppo_config, prompts};
use hydralign::algorithms::{
    AlgorithmError, Epochs, Kto, KtoExample, LearnerRecord, Pairwise, Temperature, kto_batch,
    nll_batch, objective_values, pair_batch, preference_batch, ranking_batch, reference_logprobs,
    sequences_of, with_reference,
};
use hydralign::core::Objective;
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{Schedule, StopFlag};
use hydralign::train::{
    Best, BestBy, Better, Checkpoints, CriticFreeRecipe, Evaluate, Evaluation, HeldOutPolicy,
    HeldOutPrompts, HeldOutRows, Offline, OneModelRecipe, Policy, PpoRecipe, Recipe, Sampling,
    Supervised, TrainError, Trainable, Trained, Trainer, Values, Weighing,
};
use std::fs;
use std::path::Path;

/// Trains with an evaluation after every second step, or without; from `folder` and until a step.
fn train<T: Trainable, R: Recipe<T>>(
    recipe: &R,
    fresh: T,
    evaluation: Option<&dyn Evaluation<T>>,
    best: Option<BestBy>,
    (folder, until): (&Path, usize),
) -> (Trained<T>, Vec<Stats>) {
    let stop = StopFlag::new();
    let mut watch = Watch { stop: &stop, at: until, seen: Vec::new() };
    let trainer = Trainer {
        checkpoints: Some(Checkpoints::new(folder, "run", 3, 1)),
        evaluation: evaluation.map(|evaluation| Evaluate { every: 2, evaluation }),
        best,
        ..Trainer::new("stage", &stop)
    };
    let trained = trainer.train(recipe, fresh, &mut watch).unwrap();
    (trained, watch.seen)
}

fn split(values: &Values) -> (Values, Values) {
    values.iter().cloned().partition(|(name, _)| name.starts_with("eval_"))
}

/// With and without: the same weights, optimizer and statistics, and `eval_` values after every second step and
/// the last alone.
fn assert_changes_nothing<T: Trainable, R: Recipe<T>>(
    recipe: &R,
    fresh: impl Fn() -> T,
    evaluation: &dyn Evaluation<T>,
    names: &[&str],
) {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (without, plain) = train(recipe, fresh(), None, None, (one.path(), usize::MAX));
    let (with, seen) = train(recipe, fresh(), Some(evaluation), None, (two.path(), usize::MAX));
    without.ended.unwrap();
    with.ended.unwrap();
    let record = |learner: &T| learner.to_record().unwrap();
    assert_same(&record(&with.learner), &record(&without.learner), "with an evaluation");
    let measured = evaluation.measure(&with.learner).unwrap();
    let steps = seen.len();
    for (stats, plain) in seen.iter().zip(&plain) {
        let (measured, own) = split(&stats.values);
        assert_eq!(own, plain.values, "step {}", stats.step);
        let due = stats.step % 2 == 0 || stats.step == steps;
        let expected: Vec<String> =
            names.iter().filter(|_| due).map(|n| format!("eval_{n}")).collect();
        let got: Vec<&String> = measured.iter().map(|(name, _)| name).collect();
        assert_eq!(got, expected.iter().collect::<Vec<_>>(), "step {}", stats.step);
    }
    let last = split(&seen[steps - 1].values).0;
    assert!(
        last.iter().map(|(_, v)| v).eq(measured.iter().map(|(_, v)| v)),
        "{last:?} {measured:?}"
    );
}

fn rows() -> Vec<Sequence> {
    prompts().into_iter().map(|p| Sequence::new(p, vec![9, 4, STOP])).collect()
}

fn pairs() -> Vec<Pair> {
    let worse = |s: Sequence| (s.clone(), Sequence::new(s.prompt, vec![10, STOP]));
    rows().into_iter().map(|s| Pair::from(worse(s))).collect()
}

#[test]
fn losses_on_held_out_rows_change_nothing() {
    let (rows, device) = (rows(), Device::flex());
    let held_out = vec![Sequence::new(vec![3, 3], vec![11, 2, STOP])];
    let placement = Placement::sft();
    let start = learner(&placement, &checkpoint()).to_record().unwrap();
    let fresh = || learner(&placement, &checkpoint()).with_record(start.clone()).unwrap();
    let sft = Supervised {
        objective: Nll,
        order: Epochs { items: rows.len(), minibatch: 2, epochs: 3, seed: 5 },
        lr: Schedule::linear(0.02),
        batch: |_: &ModelBank, items: &[usize]| {
            let chosen: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            Ok(nll_batch(&chosen, 2, &device)?)
        },
    };
    let evaluation = HeldOutRows {
        objective: Nll,
        batch: |_: &ModelBank| Ok(nll_batch(&held_out, 2, &device)?),
    };
    assert_changes_nothing(&sft, fresh, &evaluation, &["nll", "loss"]);
}

fn sampling(prompts: &[Vec<u32>], seed: u64) -> Sampling<'_> {
    Sampling {
        prompts,
        prompts_per_round: 3,
        samples: 2,
        sampler: SamplerConfig::default(),
        generation: GenerationConfig {
            max_new_tokens: 6,
            stop_tokens: vec![STOP],
            ..GenerationConfig::default()
        },
        seed,
    }
}

/// The share of small tokens, times a number.
fn share(episodes: &[Episode]) -> Vec<f32> {
    let small = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
    episodes.iter().map(|e| small(e) / e.response.len() as f32).collect()
}

#[test]
fn responses_to_held_out_prompts_change_nothing() {
    let (prompts, held_out) = (prompts(), vec![vec![3, 3], vec![9], vec![12, 2]]);
    let by_share = episode_fn(share);
    let reward: &dyn Reward = &by_share;
    let prompted = |reward, reference| HeldOutPrompts {
        sampling: sampling(&held_out, 70),
        reward,
        reference,
        rows: 4,
    };
    let reference = Some(Reading::Logprobs(Role::Reference));
    let grpo = CriticFreeRecipe {
        method: CriticFreeConfig::grpo(),
        sampling: sampling(&prompts, 7),
        sampling_rounds: 1,
        reward,
        steps: 3,
        lr: Schedule::linear(0.01),
        device: Device::flex(),
    };
    let names = ["score", "kl", "length", "stopped"];
    let placement = Placement::policy("policy", true, false);
    let start = learner(&placement, &checkpoint()).to_record().unwrap();
    let fresh = || learner(&placement, &checkpoint()).with_record(start.clone()).unwrap();
    assert_changes_nothing(&grpo, fresh, &prompted(Some(reward), reference), &names);
    let ppo = PpoRecipe {
        ppo: ppo_config(),
        ..PpoRecipe::new(sampling(&prompts, 7), 3, &Device::flex())
    };
    for placement in Placement::five_ppos() {
        let start = learner(&placement, &checkpoint()).to_record().unwrap();
        let fresh = || learner(&placement, &checkpoint()).with_record(start.clone()).unwrap();
        assert_changes_nothing(&ppo, fresh, &prompted(None, reference), &names);
    }
    let spr = OneModelRecipe {
        method: Weighing::Scores(Reweighting::spr(Temperature::Fixed { beta: 0.5 })),
        offline: Offline::default(),
        sampling: sampling(&prompts, 7),
        reward,
        steps: 3,
        epochs: 1,
        minibatch: 4,
        micro_batch: 2,
        optimizer: OptimizerConfig::default(),
        lr: Schedule::linear(0.01),
        execution: Execution::default(),
    };
    let policy = || Policy::new(checkpoint()).unwrap();
    let own =
        HeldOutPolicy { prompts: prompted(Some(reward), None), execution: Execution::default() };
    assert_changes_nothing(&spr, policy, &own, &["score", "length", "stopped"]);
}

/// The score is the mean over what an engine draws for these prompts; the KL is 0 where policy and reference are one,
/// and that of the readings elsewhere.
#[test]
fn scores_and_kl_are_those_of_the_responses_that_are_drawn() {
    let held_out = vec![vec![3, 3], vec![9], vec![12, 2]];
    let placement = Placement::policy("policy", true, false);
    let mut learner = learner(&placement, &checkpoint());
    let by_share = episode_fn(share);
    let reward: &dyn Reward = &by_share;
    let reference = Reading::Logprobs(Role::Reference);
    let evaluation = HeldOutPrompts {
        sampling: sampling(&held_out, 70),
        reward: Some(reward),
        reference: Some(reference),
        rows: 2,
    };
    let of = |values: &Values, name: &str| values.iter().find(|(n, _)| n == name).unwrap().1;
    let before = evaluation.measure(&learner).unwrap();
    assert!(of(&before, "kl").abs() < 1e-5, "{before:?}");
    assert_eq!(before, evaluation.measure(&learner).unwrap(), "the same again");
    let batch = nll_batch(&rows(), 4, &Device::flex()).unwrap();
    (0..4).for_each(|_| drop(learner.step(&Nll, &batch, 0.02).unwrap()));
    let after = evaluation.measure(&learner).unwrap();
    let sampling = &evaluation.sampling;
    let seed = hydralign::core::random::sub_seed(70, "rollout");
    let picked: Vec<_> =
        sampling.prompts_of(0).iter().map(|&i| sampling.prompts[i].clone()).collect();
    let asked = sample_prompts(&picked, 2, seed, 0);
    let sampler = SamplerConfig::default().build().unwrap();
    let engine = Engine::new(learner.model(), Role::Actor, &sampler, &sampling.generation).unwrap();
    let episodes = engine.generate(&asked, &mut ()).unwrap();
    let mean = |all: &[f32]| all.iter().map(|&v| f64::from(v)).sum::<f64>() / episodes.len() as f64;
    assert_eq!(of(&after, "score"), mean(&share(&episodes)));
    let own = common::read(learner.model(), Reading::Logprobs(Role::Actor), &episodes);
    let other = common::read(learner.model(), reference, &episodes);
    let kl = mean(&own) - mean(&other);
    assert!(kl.abs() > 0.05 && (of(&after, "kl") - kl).abs() < 1e-4, "{kl} {after:?}");
    let cold = SamplerConfig { temperature: 0.5, ..SamplerConfig::default() };
    let sampling = Sampling { sampler: cold, ..sampling.clone() };
    let biased = HeldOutPrompts { sampling, ..evaluation };
    let refused = biased.measure(&learner).unwrap_err().to_string();
    assert!(refused.contains("temperature"), "{refused}");
}

/// Without a gradient an objective says of rows what a step on them says.
fn assert_measures<O: Objective>(
    objective: &O,
    placement: &Placement,
    batch: &[(TokenBatch, O::Batch)],
) {
    let mut learner = learner(placement, &checkpoint());
    let measured = objective_values(learner.model(), objective, batch).unwrap();
    let report = learner.step(objective, batch, 0.01).unwrap();
    let expected = [report.stats.clone(), vec![("loss", report.loss)]].concat();
    assert_eq!(measured.len(), expected.len());
    for ((name, got), (other, value)) in measured.iter().zip(&expected) {
        assert_eq!(name, other);
        assert!((got - value).abs() <= 1e-5 * (1.0 + value.abs()), "{name}: {got} for {value}");
    }
    let after = objective_values(learner.model(), objective, batch).unwrap();
    assert!(after.last().unwrap().1 < report.loss, "a step on the rows lowers their loss");
}

#[test]
fn an_objective_says_of_rows_what_a_step_on_them_says() {
    let (device, pairs) = (Device::flex(), pairs());
    assert_measures(&Nll, &Placement::sft(), &nll_batch(&rows(), 3, &device).unwrap());
    let both: Vec<_> = pairs.iter().map(|p| (p.chosen.clone(), p.rejected.clone())).collect();
    let ranked = ranking_batch(&both, 3, &device).unwrap();
    assert_measures(&Pairwise::default(), &Placement::reward_model(), &ranked);
    let joint = preference_batch(&both, 3, &device).unwrap();
    assert_measures(&HydraSft::default(), &Placement::hydra_sft(), &joint);
    let start = learner(&Placement::sft(), &checkpoint());
    let sequences = sequences_of(&pairs);
    let actor = Reading::Logprobs(Role::Actor);
    let reference = reference_logprobs(start.model(), actor, &sequences, 4).unwrap();
    let policy = Placement::policy("dpo", false, false);
    let pairs = with_reference(pairs, &reference).unwrap();
    let batch = pair_batch(&pairs, 3, &device).unwrap();
    assert_measures(&Preference::new(Dpo::default()), &policy, &batch);
    let example = |(i, sequence): (usize, Sequence)| KtoExample {
        sequence,
        desirable: i % 2 == 0,
        reference: reference[i],
    };
    let examples: Vec<KtoExample> = sequences.into_iter().enumerate().map(example).collect();
    let batch = kto_batch(&examples, 0.0, 3, &device).unwrap();
    assert_measures(&Kto::default(), &policy, &batch);
    let nothing = objective_values(start.model(), &Nll, &[]);
    assert!(matches!(nothing, Err(AlgorithmError::Empty { .. })));
}

/// Runs of 12 steps whose evaluations give these numbers.
struct Scripted {
    values: [f64; 6],
    best: BestBy,
}

impl Scripted {
    fn train(
        &self,
        start: &LearnerRecord,
        folder: &Path,
        until: usize,
    ) -> (Trained<Learner<ModelBank>>, Vec<Stats>) {
        let (rows, device) = (rows(), Device::flex());
        let sft = Supervised {
            objective: Nll,
            order: Epochs { items: rows.len(), minibatch: 1, epochs: 3, seed: 5 },
            lr: Schedule::linear(0.02),
            batch: |_: &ModelBank, items: &[usize]| {
                let chosen: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
                Ok(nll_batch(&chosen, 2, &device)?)
            },
        };
        let evaluation = |learner: &Learner<ModelBank>| -> Result<Values, TrainError> {
            Ok(vec![("loss".into(), self.values[learner.steps() / 2 - 1]), ("other".into(), 1.0)])
        };
        let fresh = learner(&Placement::sft(), &checkpoint()).with_record(start.clone()).unwrap();
        train(&sft, fresh, Some(&evaluation), Some(self.best.clone()), (folder, until))
    }
}

fn kept(folder: &Path) -> Vec<String> {
    let names =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The best and the step that the run came to, however it is cut.
fn assert_found(scripted: &Scripted, best: usize, end: usize) {
    let start = learner(&Placement::sft(), &checkpoint()).to_record().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let (trained, stats) = scripted.train(&start, whole.path(), usize::MAX);
    trained.ended.unwrap();
    assert_eq!((trained.progress.done, trained.progress.steps), (end, end));
    let found = trained.best.unwrap();
    let Best { metric, value, step, checkpoint } = &found;
    assert_eq!(
        (metric.as_str(), *step, *value),
        ("eval_loss", best, scripted.values[best / 2 - 1])
    );
    let checkpoint = checkpoint.clone().unwrap();
    assert!(checkpoint.ends_with(format!("step-{best:08}")), "{}", checkpoint.display());
    let mut expected = vec![format!("step-{best:08}"), format!("step-{end:08}")];
    expected.dedup();
    assert_eq!(kept(whole.path()), expected, "the best beside the newest");
    let record = trained.learner.to_record().unwrap();
    let bytes =
        |folder: &Path| fs::read(folder.join(format!("step-{best:08}/weights.bpk"))).unwrap();
    let cuts = (1..end).map(|cut| vec![cut, usize::MAX]).chain([(1..=end).collect()]);
    for cuts in cuts {
        let folder = tempfile::tempdir().unwrap();
        let (mut last, mut seen) = (None, Vec::new());
        for &cut in &cuts {
            let (trained, stats) = scripted.train(&start, folder.path(), cut);
            last = Some(trained);
            seen.extend(stats);
        }
        let (last, what) = (last.unwrap(), format!("cut at {cuts:?}"));
        assert_same(&last.learner.to_record().unwrap(), &record, &what);
        assert_eq!(format!("{seen:?}"), format!("{stats:?}"), "{what}"); // NaN is not itself
        let again = last.best.unwrap();
        assert_eq!((again.step, again.value), (found.step, found.value), "{what}");
        assert_eq!((last.progress.done, last.progress.steps), (end, end), "{what}");
        assert_eq!(kept(folder.path()), expected, "{what}");
        let (one, other) = (bytes(folder.path()), bytes(whole.path()));
        let both =
            [one, other].map(|b| tensors(&hydralign::burn::tensor::Bytes::from_bytes_vec(b)));
        assert!(both[0] == both[1], "{what}: the weights of the best");
    }
}

#[test]
fn the_best_checkpoint_stays_however_the_run_is_cut() {
    let best = BestBy::new("eval_loss").unwrap();
    let values = [5.0, 3.0, 4.0, f64::NAN, 3.0, 6.0];
    assert_found(&Scripted { values, best: best.clone() }, 4, 12);
    // The last, and more is better.
    let best = BestBy { better: Better::More, metric: "loss".into(), ..best };
    assert_found(&Scripted { values, best }, 12, 12);
}

#[test]
fn patience_comes_to_its_end_at_the_same_step_however_the_run_is_cut() {
    let by = BestBy::new("loss").unwrap();
    let values = [5.0, 3.0, 4.0, 3.5, 1.0, 0.5];
    let best = BestBy { patience: Some(2), ..by.clone() };
    assert_found(&Scripted { values, best }, 4, 8);
    let best = BestBy { patience: Some(3), ..by.clone() };
    assert_found(&Scripted { values, best }, 12, 12);
    // 0.9 leads by more than 0.08 over 1, and 0.95 and 0.85 by less over what was the last to do so.
    let values = [1.0, 0.95, 0.9, 0.85, 0.84, 0.0];
    let best = BestBy { patience: Some(2), min_change: 0.08, ..by };
    assert_found(&Scripted { values, best }, 10, 10);
}

#[test]
fn a_best_that_cannot_be_found_is_refused_with_what_there_is() {
    let start = learner(&Placement::sft(), &checkpoint()).to_record().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let best = BestBy { metric: "accuracy".into(), ..BestBy::new("loss").unwrap() };
    let (trained, seen) =
        Scripted { values: [0.0; 6], best: best.clone() }.train(&start, folder.path(), usize::MAX);
    let said = trained.ended.unwrap_err().to_string();
    assert!(said.contains("accuracy") && said.contains("eval_loss, eval_other"), "{said}");
    assert_eq!(seen.len(), 2, "at the first evaluation");
    let said = BestBy::new("eval_length").unwrap_err().to_string();
    assert!(said.contains("eval_length"), "{said}");
    let stop = StopFlag::new();
    let none = Trainer { best: Some(best), ..Trainer::new("stage", &stop) };
    let prompts = prompts();
    let ppo = PpoRecipe::new(sampling(&prompts, 7), 3, &Device::flex());
    let refused = none.train(&ppo, learner(&Placement::j_hydra_ppo(), &checkpoint()), &mut ());
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("there is no evaluation"), "{said}");
}
