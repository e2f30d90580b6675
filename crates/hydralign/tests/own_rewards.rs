//! Rewards of a user's own in whole runs: by rule in every placement, by rows, by other threads.

mod common;

use common::{STOP, checkpoint, lora, parameters, ppo_config, prompts};
use hydralign::core::episode_fn;
use hydralign::prelude::*;
use hydralign::rewards::concurrently;
use std::sync::Mutex;

fn sampling(prompts: &[Vec<u32>]) -> Sampling<'_> {
    let stop_tokens = vec![STOP];
    let generation = GenerationConfig { max_new_tokens: 6, stop_tokens, ..Default::default() };
    Sampling { prompts_per_round: 3, samples: 2, seed: 7, ..Sampling::new(prompts, generation) }
}

fn learner(placement: &Placement, model: &Checkpoint) -> Learner<ModelBank> {
    let bank = ModelBank::new(placement, &Start::joint(model), &lora(), 3).unwrap();
    Learner::new(bank, &OptimizerConfig::default())
}

fn ppo<'a>(prompts: &'a [Vec<u32>], steps: usize, reward: &'a dyn Reward) -> PpoRecipe<'a> {
    let recipe = PpoRecipe::new(sampling(prompts), steps, &Device::flex());
    PpoRecipe { ppo: ppo_config(), reward: Some(reward), lr: Schedule::constant(0.01), ..recipe }
}

fn train(recipe: &PpoRecipe<'_>, learner: Learner<ModelBank>) -> Learner<ModelBank> {
    let trained = Trainer::new("ppo", &StopFlag::new()).train(recipe, learner, &mut ()).unwrap();
    trained.ended.unwrap();
    trained.learner
}

/// The share of a token in each response.
fn share(of: u32) -> impl Fn(&Episode) -> f32 + Copy {
    move |e| e.response.iter().filter(|&&t| t == of).count() as f32 / 6.0
}

/// A policy without a reward head: the critic's is fresh.
#[test]
fn every_ppo_learns_a_rule_without_a_reward_model() {
    let prompts = prompts();
    let model = Checkpoint { reward_head: None, ..checkpoint() };
    for with_reward in Placement::five_ppos() {
        let placement = with_reward.clone().without_reward();
        placement.validate().unwrap();
        assert!(!placement.views.contains_key(&Role::Reward));
        assert!(placement.static_models() <= with_reward.static_models());
        let means = Mutex::new(Vec::new());
        let reward = episode_fn(|all| {
            let scores: Vec<f32> = all.iter().map(share(9)).collect();
            means.lock().unwrap().push(scores.iter().sum::<f32>() / scores.len() as f32);
            scores
        });
        let trained = train(&ppo(&prompts, 40, &reward), learner(&placement, &model));
        let head = |role| trained.model().head(role).is_some();
        assert_eq!((head(Role::Reward), head(Role::Critic)), (false, true));
        let means = means.into_inner().unwrap();
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        let (early, late) = (mean(&means[..5]), mean(&means[35..]));
        assert!(late > early + 0.25, "{}: {early} → {late}", placement.name);
    }
}

/// A round mixes prompts, the threads mix the times at which scores come.
#[test]
fn a_run_scored_by_threads_while_it_samples_is_the_plain_run() {
    let prompts = prompts();
    let told = Mutex::new(0);
    let reward = episode_fn(|all| {
        let wait = |e: &Episode| 7 * u64::from(e.response[0]) % 5;
        all.iter().for_each(|e| std::thread::sleep(std::time::Duration::from_millis(wait(e))));
        *told.lock().unwrap() += all.len();
        all.iter().map(share(4)).collect::<Vec<f32>>()
    });
    let placement = Placement::hydra_ppo().without_reward();
    let plain = train(&ppo(&prompts, 3, &reward), learner(&placement, &checkpoint()));
    assert_eq!(*told.lock().unwrap(), 3 * 6);
    let threaded = concurrently(&reward, 3, |reward| {
        train(&ppo(&prompts, 3, reward), learner(&placement, &checkpoint()))
    });
    assert_eq!(*told.lock().unwrap(), 2 * 3 * 6, "each episode is scored once");
    assert!(parameters(plain.model()) == parameters(threaded.model()));
}

#[test]
fn episodes_of_a_recipe_say_which_row_they_answer() {
    // Equal prompts in several rows, so that tokens do not tell.
    let prompts = vec![vec![2, 3], vec![4], vec![2, 3], vec![2, 3]];
    let rows = Mutex::new(Vec::new());
    let reward = episode_fn(|all| {
        let row = |e: &Episode| e.row.filter(|&row| prompts[row] == e.prompt).unwrap();
        rows.lock().unwrap().extend(all.iter().map(row));
        vec![0.0; all.len()]
    });
    let placement = Placement::hydra_ppo().without_reward();
    train(&ppo(&prompts, 4, &reward), learner(&placement, &checkpoint()));
    let rows = rows.into_inner().unwrap();
    // 4 rounds of 3 prompts with 2 samples: each of the 4 prompts in 3 of them, its samples together.
    assert!(rows.chunks(2).all(|pair| pair[0] == pair[1]));
    (0..4).for_each(|row| assert_eq!(rows.iter().filter(|&&r| r == row).count(), 6));
}
