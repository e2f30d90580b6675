//! Mistakes of other PPO trainers that need a model to show: heads and adapters that get lost,
//! padding that counts, log-probabilities of the wrong distribution, graphs that stay.

mod common;

use common::{STOP, checkpoint, iterate, learner, lora, parameters, ppo_config, prompts, read};
use hydralign::algorithms::{Pairwise, preference_batch};
use hydralign::core::Finish;
use hydralign::models::{SaveOptions, load_adapter, save_checkpoint};
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use std::path::Path;

const ACTOR: Reading = Reading::Logprobs(Role::Actor);
const SCORE: Reading = Reading::Score(Role::Reward);
const VALUES: Reading = Reading::Values(Role::Critic);

fn episode(prompt: &[u32], response: &[u32]) -> Episode {
    Episode {
        prompt: prompt.to_vec(),
        row: None,
        response: response.to_vec(),
        logprobs: vec![-1.0; response.len()],
        policy_logprobs: vec![-1.0; response.len()],
        finish: Finish::Stop,
    }
}

fn assert_close(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}");
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{what}: {a:?} against {b:?}");
}

/// TRL #262, #1161, #454 and #3867, verl PR #2953: generation settings (a minimal length, a
/// temperature, truncation) changed the sampled distribution, and its log-probabilities stood
/// for the policy's. The KL at the start was negative and the first ratio was not 1.
#[test]
fn generation_settings_move_neither_the_first_ratio_nor_the_kl_at_the_start() {
    let plain = SamplerConfig::default();
    let settings = [
        plain,
        SamplerConfig { top_k: Some(3), ..plain },
        SamplerConfig { temperature: 0.7, ..plain },
        SamplerConfig { temperature: 1.4, top_p: Some(0.8), min_p: Some(0.02), ..plain },
    ];
    for sampler in settings {
        for min_new_tokens in [0, 3] {
            let what = format!("{sampler:?}, at least {min_new_tokens}");
            let mut learner = learner(&Placement::hydra_ppo(), &checkpoint());
            let config = GenerationConfig {
                max_new_tokens: 6,
                min_new_tokens,
                stop_tokens: vec![STOP],
                ..GenerationConfig::default()
            };
            let drawn = sampler.build().unwrap();
            let engine = Engine::new(learner.model(), Role::Actor, &drawn, &config).unwrap();
            let episodes = engine.generate(&sample_prompts(&prompts(), 4, 1, 0), &mut ()).unwrap();
            let mut ppo = Ppo::new(ppo_config()).unwrap();
            let model = learner.model();
            let experience = ppo.experience(model, episodes, &sampler, None, &mut ()).unwrap();
            assert!(experience.mean_kl.abs() < 1e-4, "{what}: KL {}", experience.mean_kl);
            let device = Device::flex();
            let report = ppo.update(&mut learner, &experience, 0.0, 0, &device, &mut ()).unwrap();
            let ratio = report.get("first_ratio").unwrap();
            assert!((ratio - 1.0).abs() < 1e-5, "{what}: ratio {ratio}");
        }
    }
}

/// TRL #5303 (review), gpt-neox #1285, DeepSpeed-Chat #672: where pad and EOS are one token,
/// masks by token id cut real tokens from values and advantages. Token 0 pads batches here; it
/// is also a part of this prompt and the stop token.
#[test]
fn padding_with_the_stop_token_leaves_values_and_advantages_alone() {
    let short = episode(&[0, 5], &[3, 0, 0]);
    let long = episode(&[2, 4, 6, 8], &[9, 0, 10, 11, 12, 13]);
    let learner = learner(&Placement::hydra_ppo(), &checkpoint());
    let sampler = SamplerConfig { temperature: 0.9, ..SamplerConfig::default() };
    let credit = |episodes: Vec<Episode>| {
        let config = PpoConfig { whiten_advantages: false, ..ppo_config() };
        let mut ppo = Ppo::new(config).unwrap();
        let scored = ppo.experience(learner.model(), episodes, &sampler, None, &mut ()).unwrap();
        scored.samples[0].clone()
    };
    let (alone, padded) = (credit(vec![short.clone()]), credit(vec![short.clone(), long]));
    assert_eq!(alone.values.len(), 3);
    assert_close("values", &padded.values, &alone.values);
    assert_close("reference", &padded.ref_logprobs, &alone.ref_logprobs);
    assert_close("rewards", &padded.rewards, &alone.rewards);
    assert_close("advantages", &padded.advantages, &alone.advantages);
    assert_close("returns", &padded.returns, &alone.returns);
    let cut = credit(vec![Episode { response: vec![3, 0], ..short }]);
    assert!((cut.score - alone.score).abs() > 1e-4, "the last 0 is a real token");
}

/// TRL #2022, #2496, #6809, #6861, #7012 and #7041: padding in the logged entropy, approximate
/// KL and ratio; the entropy became negative. Rows one by one have no padding.
#[test]
fn logged_statistics_see_no_padding_and_the_entropy_is_one() {
    let start = checkpoint();
    let run = |micro_batch| {
        let config = PpoConfig { entropy_coef: 0.01, micro_batch, ..ppo_config() };
        iterate(&mut learner(&Placement::hydra_ppo(), &start), &config, 0.0, 3)
    };
    let ((experience, padded), (_, unpadded)) = (run(8), run(1));
    let lengths: Vec<usize> = experience.samples.iter().map(|s| s.episode.response.len()).collect();
    assert!(lengths.iter().any(|n| *n != lengths[0]), "{lengths:?} would need no padding");
    for name in ["approx_kl", "ratio", "clip_fraction", "policy_entropy", "value_loss"] {
        let (a, b) = (padded.get(name).unwrap(), unpadded.get(name).unwrap());
        assert!((a - b).abs() < 1e-5, "{name}: {a} with padding, {b} without");
    }
    let most = f64::from(common::shape().vocab as u32).ln();
    let estimated = experience.entropy();
    for entropy in [padded.get("policy_entropy").unwrap(), estimated] {
        assert!((0.0..=most).contains(&entropy), "{entropy}");
    }
}

/// TRL #1379, #381 and #2164, PR #2743: under LoRA the score head of a reward model was neither
/// trained nor saved, so that a loaded reward model had a random one.
#[test]
fn the_reward_head_is_trained_and_saved_under_lora() {
    let start = checkpoint();
    let placement = Placement::reward_model().with_adapter("rm");
    let mut learner = learner(&placement, &start);
    let row = |p: &[u32], r: &[u32]| Sequence::new(p.to_vec(), r.to_vec());
    let pairs: Vec<_> =
        prompts().iter().map(|p| (row(p, &[9, STOP]), row(p, &[10, 12, STOP]))).collect();
    let before = head(learner.model(), Role::Reward);
    for _ in 0..3 {
        let batch = preference_batch(&pairs, 4, &Device::flex()).unwrap();
        let batch: Vec<_> = batch.into_iter().map(|(tokens, (_, pairs))| (tokens, pairs)).collect();
        learner.step(&Pairwise::default(), &batch, 0.02).unwrap();
    }
    let trained = learner.into_model();
    assert_ne!(head(&trained, Role::Reward), before, "the head is trained");

    let dir = tempfile::tempdir().unwrap();
    save(&trained, "rm", Role::Reward, dir.path());
    let config = std::fs::read_to_string(dir.path().join("adapter_config.json")).unwrap();
    assert!(config.contains("SEQ_CLS") && config.contains("\"score\""), "{config}");
    let loaded = load(&start, dir.path());
    let placement = placement.starting_from_adapter(false).unwrap();
    let again = ModelBank::new(&placement, &Start::joint(&loaded), &lora(), 99).unwrap();
    let episodes = [episode(&[2, 3], &[9, 4]), episode(&[5], &[10, 12, STOP])];
    assert_eq!(read(&again, SCORE, &episodes), read(&trained, SCORE, &episodes));
}

/// TRL #1650 and #3293, LLaMA-Factory #3897: the value head was lost when a model was saved.
/// A critic is saved with its head, as an adapter and as a full model.
#[test]
fn the_value_head_survives_saving() {
    let start = checkpoint();
    let episodes = [episode(&[2, 3], &[9, 4]), episode(&[5], &[10, 12, STOP])];
    let reward_values = Reading::Values(Role::Reward);
    for placement in [Placement::hydra_ppo(), Placement::ppo()] {
        let mut learner = learner(&placement, &start);
        iterate(&mut learner, &ppo_config(), 0.05, 0);
        let bank = learner.into_model();
        assert_ne!(head(&bank, Role::Critic), head(&bank, Role::Reward), "it was trained");
        let dir = tempfile::tempdir().unwrap();
        // A critic on its own is a reward model that is read at every token.
        let (own, loaded) = match bank.adapter("critic") {
            Some(_) => {
                save(&bank, "critic", Role::Critic, dir.path());
                let own = Placement::reward_model().with_adapter("critic");
                (own.starting_from_adapter(false).unwrap(), load(&start, dir.path()))
            }
            None => {
                let trunk = bank.trunk(bank.placement().view(Role::Critic).unwrap().trunk).unwrap();
                save_checkpoint(
                    dir.path(),
                    trunk,
                    bank.head(Role::Critic),
                    &SaveOptions::default(),
                )
                .unwrap();
                let loaded = load_checkpoint(dir.path(), &Device::flex()).unwrap();
                (Placement::reward_model(), loaded)
            }
        };
        let again = ModelBank::new(&own, &Start::joint(&loaded), &lora(), 99).unwrap();
        let (a, b) = (read(&again, reward_values, &episodes), read(&bank, VALUES, &episodes));
        assert_eq!(a, b, "{}", placement.name);
    }
}

/// ms-swift #9239: a reward head that was there already was drawn anew. Here it starts every
/// role that has a head; only without one is it drawn, and only where it is about to be trained.
#[test]
fn a_head_that_exists_is_never_drawn_anew() {
    let start = checkpoint();
    let bank = |placement: &Placement, start: &Checkpoint, seed| {
        ModelBank::new(placement, &Start::joint(start), &lora(), seed).unwrap()
    };
    let expected = head(&bank(&Placement::reward_model(), &start, 1), Role::Reward);
    for placement in Placement::five_ppos() {
        let bank = bank(&placement, &start, 2);
        assert_eq!(head(&bank, Role::Reward), expected, "{}", placement.name);
        assert_eq!(head(&bank, Role::Critic), expected, "{}", placement.name);
    }
    assert_eq!(head(&bank(&Placement::hydra_sft(), &start, 3), Role::Reward), expected);
    let bare = Checkpoint { reward_head: None, ..start };
    let fresh = |seed| head(&bank(&Placement::hydra_sft(), &bare, seed), Role::Reward);
    assert_ne!(fresh(3), expected);
    assert_eq!(fresh(3), fresh(3));
}

/// Soup #354: the seed was set after the adapters had been drawn.
#[test]
fn fresh_adapters_follow_from_the_seed() {
    let start = checkpoint();
    let drawn = |seed| {
        let placement = Placement::hydra_ppo();
        parameters(&ModelBank::new(&placement, &Start::joint(&start), &lora(), seed).unwrap())
    };
    assert!(drawn(1) == drawn(1));
    assert!(drawn(1) != drawn(2));
}

/// A reading that was asked for as a constant carries no graph, also where it comes from the
/// pass that keeps one for another reading; a missing `no_grad` held gigabytes elsewhere.
#[test]
fn constant_readings_carry_no_graph() {
    let learner = learner(&Placement::j_hydra_ppo(), &checkpoint());
    let batch = TokenBatch::from_episodes(&[episode(&[2], &[3, 4])]).unwrap();
    // Actor and critic share a pass in this placement.
    let requests = [Request::differentiable(ACTOR), Request::constant(VALUES)];
    let outputs = learner.model().read(&requests, &batch).unwrap();
    assert!(outputs.get(ACTOR).unwrap().is_autodiff());
    assert!(!outputs.get(VALUES).unwrap().is_autodiff());
}

fn head(bank: &ModelBank, role: Role) -> Vec<f32> {
    bank.head_weights(role).unwrap().into_data().iter::<f32>().collect()
}

fn save(bank: &ModelBank, adapter: &str, role: Role, dir: &Path) {
    let architecture = bank.trunk(0).unwrap().architecture();
    let adapter = bank.adapter(adapter).unwrap();
    save_adapter(dir, adapter, bank.head(role), architecture, "base").unwrap();
}

/// The start's trunk with the adapter and the head of a folder.
fn load(start: &Checkpoint, dir: &Path) -> Checkpoint {
    let architecture = start.trunk.architecture();
    let (adapter, reward_head) = load_adapter(dir, architecture, &Device::flex()).unwrap();
    Checkpoint { trunk: start.trunk.clone(), adapter: Some(adapter), reward_head }
}
