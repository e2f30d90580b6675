//! A run that is cut and goes on ends where a run that is not cut ends, to the last bit; and a checkpoint that
//! is not what was written is refused.

mod common;

use common::records::{Watch, assert_same, tensors};
use common::{STOP, checkpoint, full, learner, lora, parameters, ppo_config, prompts};
use hydralign::advantage::{KlControl, ScoreNormalisation, Selection};
use hydralign::algorithms::{
    Cycles, Epochs, Ilql, IlqlRow, LearnerRecord, Linex, PpoParts, PrefixRegression, SuperHf,
    Temperature, nll_batch, preference_batch,
};
use hydralign::core::episode_fn;
use hydralign::core::random::{in_rounds, splitmix64, sub_seed};
use hydralign::core::{ActionHead, Work, WorkKind};
use hydralign::placement::View;
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{Schedule, StopFlag};
use hydralign::train::{
    Checkpoints, Context, CriticFreeRecipe, IlqlRecipe, Offline, OneModelRecipe, OnlineDpoRecipe,
    PairUpdate, Policy, PpoRecipe, PrefixValueRecipe, Recipe, Run, Sampling, SpinRecipe,
    Supervised, TrainError, Trainable, Trainer, Weighing,
};
use std::fs;
use std::path::Path;

/// Runs a part of a recipe as a process of its own would, on what was built anew.
fn part<T: Trainable, R: Recipe<T>>(
    recipe: &R,
    fresh: T,
    folder: &Path,
    stop_at: usize,
) -> (LearnerRecord, Vec<Stats>) {
    let stop = StopFlag::new();
    let mut watch = Watch { stop: &stop, at: stop_at, seen: Vec::new() };
    let checkpoints = Some(Checkpoints::new(folder, "run", 2, 2));
    let trainer = Trainer { checkpoints, ..Trainer::new("stage", &stop) };
    let trained = trainer.train(recipe, fresh, &mut watch).unwrap();
    trained.ended.unwrap();
    (trained.learner.to_record().unwrap(), watch.seen)
}

/// A learner on a model that is built anew, under the names that burn gave the first one's weights.
fn fresh(placement: &Placement, start: &LearnerRecord) -> Learner<ModelBank> {
    learner(placement, &checkpoint()).with_record(start.clone()).unwrap()
}

fn assert_resumes<R: Recipe<Learner<ModelBank>>>(recipe: &R, placement: &Placement) {
    let start = learner(placement, &checkpoint()).to_record().unwrap();
    assert_resumes_on(recipe, || fresh(placement, &start), &placement.name);
}

/// Cuts the run after each of its steps, and once after every step.
fn assert_resumes_on<T: Trainable, R: Recipe<T>>(recipe: &R, fresh: impl Fn() -> T, name: &str) {
    let steps = recipe.begin().unwrap().0;
    let whole = tempfile::tempdir().unwrap();
    let (expected, stats) = part(recipe, fresh(), whole.path(), usize::MAX);
    assert_eq!(stats.len(), steps);
    let mut cuts: Vec<Vec<usize>> = (1..steps).map(|cut| vec![cut, usize::MAX]).collect();
    cuts.push((1..=steps).collect());
    for cuts in cuts {
        let folder = tempfile::tempdir().unwrap();
        let (mut last, mut seen) = (None, Vec::new());
        for &cut in &cuts {
            let (record, stats) = part(recipe, fresh(), folder.path(), cut);
            last = Some(record);
            seen.extend(stats);
        }
        let what = format!("{name}, cut at {cuts:?}");
        assert_same(&last.unwrap(), &expected, &what);
        assert_eq!(seen, stats, "{what}: statistics");
        let kept = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(kept, 2, "{what}: the newest stay");
    }
}

fn rows() -> Vec<Sequence> {
    prompts().into_iter().map(|p| Sequence::new(p, vec![9, 4, STOP])).collect()
}

#[test]
fn supervised_runs_go_on_bit_for_bit() {
    let rows = rows();
    let epochs = Epochs { items: rows.len(), minibatch: 3, epochs: 3, seed: 5 };
    let device = Device::flex();
    let sft = Supervised {
        objective: Nll,
        order: epochs,
        lr: Schedule::linear(0.02),
        batch: |_: &ModelBank, items: &[usize]| {
            let chosen: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            Ok(nll_batch(&chosen, 2, &device)?)
        },
    };
    assert_resumes(&sft, &Placement::sft());
    assert_resumes(&sft, &Placement::sft().with_adapter("own"));
    let worse = Sequence::new(vec![2, 3], vec![10, STOP]);
    let joint = Supervised {
        objective: HydraSft::default(),
        order: epochs,
        lr: Schedule::constant(0.02),
        batch: |_: &ModelBank, items: &[usize]| {
            let pairs: Vec<_> = items.iter().map(|&i| (rows[i].clone(), worse.clone())).collect();
            Ok(preference_batch(&pairs, 2, &device)?)
        },
    };
    assert_resumes(&joint, &Placement::hydra_sft());
}

fn sampling(prompts: &[Vec<u32>]) -> Sampling<'_> {
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
        seed: 7,
    }
}

#[test]
fn policy_gradients_without_a_critic_go_on_bit_for_bit() {
    let prompts = prompts();
    let share = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
    let reward = episode_fn(|all| all.iter().map(share).collect::<Vec<f32>>());
    for (method, sampling_rounds) in [
        (CriticFreeConfig::grpo(), 1),
        (CriticFreeConfig::dapo(None), 3),
        (CriticFreeConfig::rloo(), 1),
        (CriticFreeConfig::remax(), 1),
    ] {
        let placement = Placement::policy("policy", method.needs_reference(), false);
        let recipe = CriticFreeRecipe {
            method,
            sampling: sampling(&prompts),
            sampling_rounds,
            reward: &reward,
            steps: 4,
            lr: Schedule::linear(0.01),
            device: Device::flex(),
        };
        assert_resumes(&recipe, &placement);
    }
}

/// A policy whose adapter is trained.
fn adapted() -> Policy {
    Policy::with_adapter(checkpoint(), &common::lora(), 4).unwrap()
}

#[test]
fn one_model_at_a_time_goes_on_bit_for_bit() {
    let prompts = prompts();
    let share = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
    let reward = episode_fn(|all| all.iter().map(share).collect::<Vec<f32>>());
    let recipe = OneModelRecipe {
        method: Weighing::Scores(Reweighting::spr(Temperature::Fixed { beta: 0.5 })),
        offline: Offline::default(),
        sampling: sampling(&prompts),
        reward: &reward,
        steps: 4,
        epochs: 2,
        minibatch: 4,
        micro_batch: 2,
        optimizer: OptimizerConfig::default(),
        lr: Schedule::linear(0.01),
        execution: Execution::default(),
    };
    let policy = || Policy::new(checkpoint()).unwrap();
    let before = policy().to_record().unwrap();
    assert_resumes_on(&recipe, policy, "spr");
    assert_resumes_on(&recipe, adapted, "spr_lora");
    let trunk = |policy: &Policy| parameters(&policy.model().trunk);
    let stop = StopFlag::new();
    let trained = Trainer::new("spr_lora", &stop).train(&recipe, adapted(), &mut ()).unwrap();
    let adapters = [adapted(), trained.learner].map(|policy| {
        assert!(trunk(&policy) == trunk(&adapted()), "the weights below stay as they are");
        parameters(policy.model().adapter.as_ref().unwrap())
    });
    assert!(adapters[0] != adapters[1], "the adapter learns");
    let stop = StopFlag::new();
    let trained = Trainer::new("spr", &stop).train(&recipe, policy(), &mut ()).unwrap();
    let after = trained.learner.to_record().unwrap();
    assert!(tensors(&before.weights) != tensors(&after.weights), "it learns");
    assert_eq!(after.steps, 4 * 2 * 2);
}

/// Every way in which scored responses become what the policy learns, those with value models included.
#[test]
fn every_weighing_goes_on_bit_for_bit() {
    let prompts = prompts();
    let share = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
    let reward =
        episode_fn(|episodes: &[Episode]| -> Vec<f32> { episodes.iter().map(share).collect() });
    let reference = || Ok(checkpoint());
    let linex = Linex { temperature: 0.5, ..Linex::default() };
    let rule = Reweighting::spr(Temperature::Fixed { beta: 0.5 });
    let groups = vec![rows()[..2].to_vec(), rows()[2..].to_vec(), rows()];
    let offline = Offline { groups: &groups, per_round: 2 };
    let objective = SuperHf::default();
    for (name, method, offline) in [
        ("spr_offline", Weighing::Scores(rule), offline),
        ("spr_learned", Weighing::LearnedValue { rule, linex, steps: 2 }, Offline::default()),
        ("spr_token", Weighing::Tokens { temperature: 1.0, clip: Some(20.0), steps: 2 }, offline),
        ("raft", Weighing::Choice(Selection::Best), Offline::default()),
        ("rest", Weighing::Rising { quantile: 0.9 }, Offline::default()),
        ("superhf", Weighing::Tied { objective, reference: &reference }, Offline::default()),
    ] {
        let recipe = OneModelRecipe {
            method,
            sampling: sampling(&prompts),
            offline,
            reward: &reward,
            steps: 3,
            epochs: 1,
            minibatch: 4,
            micro_batch: 2,
            optimizer: OptimizerConfig::default(),
            lr: Schedule::linear(0.01),
            execution: Execution::default(),
        };
        let values = method.values();
        let policy =
            || Policy::new(checkpoint()).unwrap().with_values(&checkpoint(), values).unwrap();
        let before = policy().to_record().unwrap();
        assert_resumes_on(&recipe, policy, name);
        let stop = StopFlag::new();
        let trained = Trainer::new(name, &stop).train(&recipe, policy(), &mut ()).unwrap();
        trained.ended.unwrap();
        let after = trained.learner.to_record().unwrap();
        let changed = |part: &str| {
            let part_of = |record: &LearnerRecord| -> Vec<_> {
                let all = tensors(&record.weights).into_iter();
                all.filter(|(name, ..)| name.starts_with(part)).collect()
            };
            let (before, after) = (part_of(&before), part_of(&after));
            assert!(!before.is_empty(), "{name}: {part}");
            before != after
        };
        assert!(changed("policy"), "{name}: the policy learns");
        (0..values).for_each(|i| assert!(changed(&format!("values.{i}")), "{name}: value {i}"));
        // Without its value models there is nothing to weigh with.
        let bare = Policy::new(checkpoint()).unwrap();
        let ended = Trainer::new(name, &stop).train(&recipe, bare, &mut ()).unwrap().ended;
        assert_eq!(ended.is_err(), values > 0, "{name}");
    }
}

#[test]
fn online_dpo_goes_on_bit_for_bit() {
    let prompts = prompts();
    let share = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
    let reward =
        episode_fn(|episodes: &[Episode]| -> Vec<f32> { episodes.iter().map(share).collect() });
    let recipe = OnlineDpoRecipe {
        objective: Preference::new(Dpo::default()),
        sampling: Sampling { samples: 3, ..sampling(&prompts) },
        reward: &reward,
        steps: 4,
        update: PairUpdate { epochs: 2, minibatches: 2, micro_batch: 1, score_batch: 4 },
        lr: Schedule::linear(0.01),
        device: Device::flex(),
    };
    assert_resumes(&recipe, &Placement::policy("online_dpo", true, false));
    let sampling = Sampling { samples: 1, ..sampling(&prompts) };
    let alone = OnlineDpoRecipe { sampling, ..recipe.clone() };
    assert!(Recipe::<Learner<ModelBank>>::begin(&alone).is_err(), "one response has no rival");
    // Equal scores give no pair, and nothing is learnt.
    let equal = episode_fn(|episodes: &[Episode]| vec![1.0; episodes.len()]);
    let none = OnlineDpoRecipe { reward: &equal, ..recipe };
    let start = learner(&Placement::policy("online_dpo", true, false), &checkpoint());
    let before = parameters(start.model());
    let stop = StopFlag::new();
    let trained = Trainer::new("none", &stop).train(&none, start, &mut ()).unwrap();
    trained.ended.unwrap();
    assert!(before == parameters(trained.learner.model()) && trained.learner.steps() == 0);
}

#[test]
fn spin_goes_on_bit_for_bit() {
    let demonstrations = rows();
    let of_prompts = prompts();
    let Sampling { sampler, generation, seed, .. } = sampling(&of_prompts);
    let recipe = SpinRecipe {
        objective: Preference::new(Dpo::default()),
        demonstrations: &demonstrations,
        demonstrations_per_round: 3,
        sampler,
        generation,
        seed,
        steps: 4,
        update: PairUpdate { minibatches: 2, ..PairUpdate::default() },
        optimizer: OptimizerConfig::default(),
        lr: Schedule::linear(0.01),
        execution: Execution::default(),
    };
    let policy = || Policy::new(checkpoint()).unwrap();
    assert_resumes_on(&recipe, policy, "spin");
    let stop = StopFlag::new();
    let trained = Trainer::new("spin", &stop).train(&recipe, policy(), &mut ()).unwrap();
    let (before, after) = (policy().to_record().unwrap(), trained.learner.to_record().unwrap());
    assert!(tensors(&before.weights) != tensors(&after.weights), "it learns");
    assert_eq!(after.steps, 4 * 2);
}

#[test]
fn values_that_steer_decoding_go_on_bit_for_bit() {
    let prompts = prompts();
    let share = |e: &Episode| e.response.iter().filter(|&&t| t < 9).count() as f32;
    let reward =
        episode_fn(|episodes: &[Episode]| -> Vec<f32> { episodes.iter().map(share).collect() });
    let with_heads = |placement: &Placement, twin: bool| {
        let bank = ModelBank::new(placement, &Start::joint(&checkpoint()), &lora(), 5).unwrap();
        let bank = bank.with_action_heads(twin, 6).unwrap();
        Learner::new(bank, &OptimizerConfig::default())
    };
    let controlled = PrefixValueRecipe {
        objective: PrefixRegression::of_actions(ActionHead::First),
        policy: &|| Ok(checkpoint()),
        sampling: sampling(&prompts),
        reward: &reward,
        steps: 4,
        epochs: 2,
        micro_batch: 4,
        lr: Schedule::linear(0.01),
    };
    let start = with_heads(&Placement::value_model(), false).to_record().unwrap();
    let value_model =
        || with_heads(&Placement::value_model(), false).with_record(start.clone()).unwrap();
    assert_resumes_on(&controlled, value_model, "cd");

    let mut placement = Placement::policy("ilql", false, false);
    placement.views.insert(Role::Critic, View::trunk(0));
    let row = |sequence: Sequence| IlqlRow { sequence, rewards: vec![0.0, 0.0, 1.0] };
    let rows: Vec<IlqlRow> = rows().into_iter().map(row).collect();
    let ilql = IlqlRecipe {
        objective: Ilql::default(),
        rows: &rows,
        order: Cycles { items: rows.len(), minibatch: 3, steps: 5, seed: 2 },
        lr: Schedule::linear(0.01),
        follow: 0.1,
        follow_every: 2,
        micro_batch: 2,
        device: &Device::flex(),
    };
    let start = with_heads(&placement, true).to_record().unwrap();
    let joint = || with_heads(&placement, true).with_record(start.clone()).unwrap();
    assert_resumes_on(&ilql, joint, "ilql");
    let never = IlqlRecipe { follow_every: 9, ..ilql };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let followed = part(&ilql, joint(), folders[0].path(), usize::MAX).0;
    let stayed = part(&never, joint(), folders[1].path(), usize::MAX).0;
    assert!(tensors(&followed.weights) != tensors(&stayed.weights), "the targets follow");
}

/// What is taken in parts is what is taken at once, and is told of all of its work.
#[test]
fn a_run_in_parts_is_the_run() {
    let rows = rows();
    let device = Device::flex();
    let sft = Supervised {
        objective: Nll,
        order: Cycles { items: rows.len(), minibatch: 3, steps: 5, seed: 5 },
        lr: Schedule::linear(0.02),
        batch: |_: &ModelBank, items: &[usize]| {
            let chosen: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            Ok(nll_batch(&chosen, 2, &device)?)
        },
    };
    let (stop, start) = (StopFlag::new(), learner(&Placement::sft(), &checkpoint()));
    let whole = Trainer::new("sft", &stop).train(&sft, start, &mut ()).unwrap().learner;
    let mut run = Run::new(learner(&Placement::sft(), &checkpoint()));
    let mut told = Told::default();
    for steps in [2, 0, 3] {
        let mut context = Context { observer: &mut told, stop: &stop, lr_scale: 1.0 };
        run.advance(&sft, steps, &mut context).unwrap();
    }
    assert!(parameters(whole.model()) == parameters(run.learner().model()));
    assert_eq!((run.done(), told.0), (5, 5 * 3));
    stop.stop();
    let mut context = Context { observer: &mut (), stop: &stop, lr_scale: 1.0 };
    assert!(matches!(run.advance(&sft, 1, &mut context), Err(TrainError::Stopped)));
    assert_eq!(run.done(), 5);
}

/// Rows that were learnt.
#[derive(Default)]
struct Told(usize);

impl Observer for Told {
    fn work(&mut self, work: &Work<'_>) {
        assert!(work.kind == WorkKind::Learn && work.predicts && work.passes == 1);
        self.0 += work.rows.len();
    }
}

#[test]
fn ppo_goes_on_bit_for_bit_in_every_placement() {
    let prompts = prompts();
    let ppo = PpoConfig {
        kl: KlControl::Adaptive { initial: 0.1, target: 0.05, horizon: 20.0 },
        score_normalisation: ScoreNormalisation::Running { clip: None },
        ..ppo_config()
    };
    let recipe = PpoRecipe {
        ppo,
        sampling: sampling(&prompts),
        reward: None,
        steps: 4,
        lr: Schedule::linear(0.01),
        parts: PpoParts::default(),
        device: Device::flex(),
    };
    for placement in Placement::five_ppos() {
        assert_resumes(&recipe, &placement);
        assert_is_the_loop(&recipe, &placement);
    }
}

/// The same iterations by hand, with one `Ppo` that lives through all of them.
fn assert_is_the_loop(recipe: &PpoRecipe<'_>, placement: &Placement) {
    let mut hand = learner(placement, &checkpoint());
    let mut trained = learner(placement, &checkpoint());
    let mut ppo = Ppo::new(recipe.ppo.clone()).unwrap();
    let mut state = Recipe::<Learner<ModelBank>>::begin(recipe).unwrap().1;
    let Sampling { prompts, prompts_per_round: count, samples, sampler, .. } = &recipe.sampling;
    let built = sampler.build().unwrap();
    for step in 1..=recipe.steps {
        let (stop, kl_coef) = (&StopFlag::new(), ppo.kl_coef());
        let mut nobody = ();
        let mut context = Context::new(&mut nobody, stop);
        let values = recipe.step(step, &mut trained, &mut state, &mut context).unwrap();
        assert!(values.contains(&("kl_coef".into(), kl_coef)), "{kl_coef} in {values:?}");
        let (first, seed) = ((step - 1) * count, recipe.sampling.seed);
        let picked = in_rounds(prompts.len(), sub_seed(seed, "prompts"), first, *count);
        let picked: Vec<_> = picked.into_iter().map(|i| prompts[i].clone()).collect();
        let offset = (first * samples) as u64;
        let asked = sample_prompts(&picked, *samples, sub_seed(seed, "rollout"), offset);
        let generation = &recipe.sampling.generation;
        let engine = Engine::new(hand.model(), Role::Actor, &built, generation).unwrap();
        let episodes = engine.generate(&asked, &mut ()).unwrap();
        let experience = ppo.experience(hand.model(), episodes, sampler, None, &mut ()).unwrap();
        let seed = sub_seed(seed, &format!("ppo update {step}"));
        let lr = recipe.lr.lr(step, recipe.steps);
        ppo.update(&mut hand, &experience, lr, seed, &Device::flex(), &mut ()).unwrap();
    }
    assert!(parameters(hand.model()) == parameters(trained.model()), "{}", placement.name);
}

/// A checkpoint on disk and what is needed to read it again.
fn written(folder: &Path) -> LearnerRecord {
    let rows = rows();
    let device = Device::flex();
    let sft = Supervised {
        objective: Nll,
        order: Epochs { items: rows.len(), minibatch: 3, epochs: 1, seed: 5 },
        lr: Schedule::constant(0.02),
        batch: |_: &ModelBank, items: &[usize]| {
            let chosen: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            Ok(nll_batch(&chosen, 2, &device)?)
        },
    };
    let placement = Placement::sft().with_adapter("own");
    let start = learner(&placement, &checkpoint()).to_record().unwrap();
    part(&sft, fresh(&placement, &start), folder, usize::MAX).0
}

fn newest(folder: &Path) -> Result<Option<LearnerRecord>, TrainError> {
    let checkpoints = Checkpoints::new(folder, "run", 1, 1);
    Ok(checkpoints.newest()?.map(|state| state.learner))
}

#[test]
fn what_is_not_what_was_written_is_refused_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path());
    assert_same(&newest(folder.path()).unwrap().unwrap(), &expected, "as it was");
    let dir = folder.path().join("step-00000002");
    let mut drawn = 0;
    let mut below = |n: usize| {
        drawn += 1;
        (splitmix64(3, drawn) % n as u64) as usize
    };
    let mutations = if full() { 10_000 } else { 300 };
    for name in ["checkpoint.toml", "weights.bpk", "optimizer.bpk"] {
        let path = dir.join(name);
        let good = fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&path, bytes).unwrap();
            match newest(folder.path()) {
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains(name), "{what}: {said}");
                }
                Ok(read) => panic!("{name}, {what}: {:?}", read.is_some()),
            }
        };
        let step = if full() { 1 } else { good.len().div_ceil(200) };
        (0..good.len()).step_by(step).for_each(|n| refused(&good[..n], &format!("{n} bytes")));
        for _ in 0..mutations / 3 {
            let mut bytes = good.clone();
            let at = below(bytes.len());
            bytes[at] ^= 1 << below(8);
            refused(&bytes, &format!("byte {at}"));
        }
        refused(&[&good[..], b"\n"].concat(), "more bytes");
        fs::remove_file(&path).unwrap();
        assert!(newest(folder.path()).unwrap_err().to_string().contains(name));
        fs::write(&path, good).unwrap();
    }
    assert_same(&newest(folder.path()).unwrap().unwrap(), &expected, "as it was again");
}

#[test]
fn a_checkpoint_of_another_run_or_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let record = written(folder.path());
    let other = Checkpoints::new(folder.path(), "another", 1, 1);
    assert!(matches!(other.newest(), Err(TrainError::OtherRun { .. })));
    for placement in [Placement::sft(), Placement::hydra_sft().with_adapter("own")] {
        let fresh = learner(&placement, &checkpoint());
        let refused = fresh.with_record(record.clone()).err().unwrap().to_string();
        assert!(refused.contains("trained weights"), "{refused}");
    }
}

/// What a killed process leaves half-written is not taken for a checkpoint.
#[test]
fn a_half_written_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path());
    let partial = folder.path().join("step-00000009.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("weights.bpk"), "half").unwrap();
    assert_same(&newest(folder.path()).unwrap().unwrap(), &expected, "the whole one");
}
