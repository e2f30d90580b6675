//! Laws of the five placements on a tiny model: what moves, what must not, what coincides.

mod common;

use common::{
    checkpoint, checkpoint_with_adapter, generate, iterate, learner, parameters, ppo_config, read,
};
use hydralign::models::ModelError;
use hydralign::prelude::*;

const REFERENCE: Reading = Reading::Logprobs(Role::Reference);
const ACTOR: Reading = Reading::Logprobs(Role::Actor);
const SCORE: Reading = Reading::Score(Role::Reward);

#[test]
fn reference_and_reward_are_bit_identical_after_training_in_all_five() {
    let start = checkpoint();
    for placement in Placement::five_ppos() {
        let mut learner = learner(&placement, &start);
        let episodes = generate(learner.model(), 1);
        let before =
            (read(learner.model(), REFERENCE, &episodes), read(learner.model(), SCORE, &episodes));
        let actor = read(learner.model(), ACTOR, &episodes);
        for seed in 0..3 {
            iterate(&mut learner, &ppo_config(), 0.05, seed);
        }
        let after =
            (read(learner.model(), REFERENCE, &episodes), read(learner.model(), SCORE, &episodes));
        assert_eq!(before, after, "{}", placement.name);
        assert_ne!(actor, read(learner.model(), ACTOR, &episodes), "{}", placement.name);
    }
}

#[test]
fn at_the_start_actor_and_reference_agree_and_the_first_ratio_is_one() {
    let start = checkpoint();
    for placement in Placement::five_ppos() {
        let mut learner = learner(&placement, &start);
        let episodes = generate(learner.model(), 4);
        assert_eq!(
            read(learner.model(), ACTOR, &episodes),
            read(learner.model(), REFERENCE, &episodes),
            "{}",
            placement.name
        );
        let (experience, report) = iterate(&mut learner, &ppo_config(), 0.05, 7);
        assert!(experience.mean_kl.abs() < 1e-4, "{}: KL {}", placement.name, experience.mean_kl);
        let ratio = report.get("first_ratio").unwrap();
        assert!((ratio - 1.0).abs() <= 1e-5, "{}: ratio {ratio}", placement.name);
        assert_eq!(report.get("first_clip_fraction"), Some(0.0), "{}", placement.name);
    }
}

#[test]
fn every_ratio_of_the_first_minibatch_is_one_within_rounding() {
    let start = checkpoint();
    let mut learner = learner(&Placement::hydra_ppo(), &start);
    // After an update the adapters are no longer zero: the recorded log-probabilities must be
    // those of the policy that sampled.
    iterate(&mut learner, &ppo_config(), 0.05, 1);
    let episodes = generate(learner.model(), 2);
    let read_again = read(learner.model(), ACTOR, &episodes);
    let recorded = episodes.iter().flat_map(|e| &e.logprobs);
    for (a, b) in read_again.iter().zip(recorded) {
        assert!(((a - b).exp() - 1.0).abs() <= 1e-5, "{a} against {b}");
    }
}

#[test]
fn dynamic_lora_is_lora_ppo_bit_for_bit() {
    let start = checkpoint();
    let train = |placement: &Placement| {
        let mut learner = learner(placement, &start);
        let mut losses = Vec::new();
        for seed in 0..3 {
            let (experience, report) = iterate(&mut learner, &ppo_config(), 0.05, seed);
            losses.push((report, experience.mean_kl.to_bits()));
        }
        let adapters = ["actor", "critic"].map(|n| parameters(learner.model().adapter(n).unwrap()));
        let head = learner.model().head_weights(Role::Critic).unwrap();
        (losses, adapters, head.into_data().iter::<f32>().collect::<Vec<_>>())
    };
    let four_models = train(&Placement::lora_ppo());
    let two_models = train(&Placement::dynamic_lora_ppo());
    assert!(four_models == two_models, "only the bytes held may differ");
}

#[test]
fn each_trainable_tensor_moves_and_no_frozen_one_gets_gradient_or_state() {
    let start = checkpoint();
    for placement in Placement::five_ppos() {
        let mut learner = learner(&placement, &start);
        let before = parameters(learner.model());
        // Two iterations: at the first, B = 0 keeps the gradient of A at zero.
        for seed in 0..2 {
            iterate(&mut learner, &ppo_config(), 0.05, seed);
        }
        let after = parameters(learner.model());
        let mut trained = 0;
        for (path, (tracked, values)) in &before {
            let moved = values != &after[path].1;
            assert_eq!(*tracked, moved, "{}: {path}", placement.name);
            assert_eq!(*tracked, after[path].0, "{}: {path} changed sides", placement.name);
            trained += usize::from(*tracked);
        }
        let expected = placement.trained_parameters(&common::shape(), &common::lora());
        let counted: usize = before.values().filter(|(t, _)| *t).map(|(_, v)| v.len()).sum();
        assert_eq!(counted as u64, expected, "{}", placement.name);
        assert_eq!(learner.optimizer_tensors(), 2 * trained, "{}", placement.name);
    }
}

#[test]
fn the_split_into_micro_batches_does_not_matter() {
    let start = checkpoint();
    let run = |micro_batch| {
        let mut learner = learner(&Placement::hydra_ppo(), &start);
        let config = PpoConfig { micro_batch, ..ppo_config() };
        iterate(&mut learner, &config, 0.0, 3).1
    };
    let (whole, split) = (run(8), run(1));
    for ((name, a), (_, b)) in whole.stats.iter().zip(&split.stats) {
        assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{name}: {a} against {b}");
    }
}

#[test]
fn optimizer_steps_are_epochs_times_minibatches_whatever_the_micro_batch() {
    // TRL 1.12 stepped 4 times instead of 16 under gradient accumulation.
    let start = checkpoint();
    for micro_batch in [1, 2, 8] {
        let mut learner = learner(&Placement::j_hydra_ppo(), &start);
        let config = PpoConfig { micro_batch, epochs: 4, minibatches: 4, ..ppo_config() };
        let (_, report) = iterate(&mut learner, &config, 1e-3, 0);
        assert_eq!((report.steps, report.planned), (16, 16));
        let ratio = report.get("ratio").unwrap();
        assert!((ratio - 1.0).abs() < 0.2, "the mean ratio is not divided by anything: {ratio}");
    }
}

#[test]
fn updating_stops_early_on_kl_and_not_before_the_first_step() {
    let start = checkpoint();
    let mut learner = learner(&Placement::hydra_ppo(), &start);
    let config = PpoConfig { target_kl: Some(1e-9), epochs: 4, ..ppo_config() };
    let (_, report) = iterate(&mut learner, &config, 0.05, 0);
    assert!(report.steps >= 1 && report.steps < report.planned, "{report:?}");
}

#[test]
fn a_run_from_an_adapter_measures_kl_from_its_start_and_not_from_the_base() {
    let start = checkpoint_with_adapter();
    for base in [
        Placement::lora_ppo(),
        Placement::dynamic_lora_ppo(),
        Placement::j_hydra_ppo(),
        Placement::hydra_ppo(),
    ] {
        let placement = base.starting_from_adapter(true).unwrap();
        let mut learner = learner(&placement, &start);
        let episodes = generate(learner.model(), 9);
        let reference = read(learner.model(), REFERENCE, &episodes);
        assert_eq!(read(learner.model(), ACTOR, &episodes), reference, "{}", placement.name);
        for seed in 0..2 {
            iterate(&mut learner, &ppo_config(), 0.05, seed);
        }
        assert_eq!(read(learner.model(), REFERENCE, &episodes), reference, "{}", placement.name);
        assert_ne!(read(learner.model(), ACTOR, &episodes), reference, "{}", placement.name);

        // The bare base is somewhere else: taking it for the reference would be seen here.
        let bare = Checkpoint { adapter: None, ..start.clone() };
        let bank =
            ModelBank::new(&Placement::hydra_ppo(), &Start::joint(&bare), &common::lora(), 3);
        let off = read(&bank.unwrap(), REFERENCE, &episodes);
        assert_ne!(off, reference, "{}", placement.name);
    }
}

#[test]
fn a_placement_that_would_ignore_the_start_adapter_is_refused() {
    let start = checkpoint_with_adapter();
    for placement in Placement::five_ppos() {
        let error =
            ModelBank::new(&placement, &Start::joint(&start), &common::lora(), 0).unwrap_err();
        assert!(matches!(error, ModelError::StartAdapterIgnored { .. }), "{error}");
    }
    let placement = Placement::hydra_ppo().starting_from_adapter(true).unwrap();
    let error =
        ModelBank::new(&placement, &Start::joint(&checkpoint()), &common::lora(), 0).unwrap_err();
    assert!(matches!(error, ModelError::NoStartAdapter { .. }), "{error}");
}

#[test]
fn a_merged_start_adapter_serves_full_training() {
    let start = checkpoint_with_adapter();
    let merged = Checkpoint {
        trunk: start.trunk.merge(start.adapter.as_ref().unwrap()).unwrap(),
        adapter: None,
        reward_head: start.reward_head.clone(),
    };
    let through_adapter =
        learner(&Placement::hydra_ppo().starting_from_adapter(true).unwrap(), &start);
    let through_merge = learner(&Placement::ppo(), &merged);
    let episodes = generate(through_merge.model(), 1);
    let a = read(through_adapter.model(), ACTOR, &episodes);
    let b = read(through_merge.model(), ACTOR, &episodes);
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-5, "{a} against {b}");
    }
}

#[test]
fn a_missing_reward_head_is_an_error_where_it_is_not_about_to_be_trained() {
    let bare = Checkpoint { reward_head: None, ..checkpoint() };
    let error = ModelBank::new(&Placement::hydra_ppo(), &Start::joint(&bare), &common::lora(), 0);
    assert!(matches!(error.unwrap_err(), ModelError::NoRewardHead { .. }));
    ModelBank::new(&Placement::hydra_sft(), &Start::joint(&bare), &common::lora(), 0).unwrap();
}
