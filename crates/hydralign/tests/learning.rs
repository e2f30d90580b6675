//! Each algorithm learns what it should on a tiny model, and refuses what it cannot learn from.

mod common;

use common::{STOP, checkpoint, iterate, learner, ppo_config, prompts};
use hydralign::advantage::KlControl;
use hydralign::algorithms::{
    AlgorithmError, Epochs, HydraSftConfig, Pairwise, nll_batch, preference_batch,
};
use hydralign::core::{CoreError, Finish, episode_fn};
use hydralign::prelude::*;

fn response(tokens: &[u32]) -> Vec<Sequence> {
    prompts().into_iter().map(|p| Sequence::new(p, tokens.to_vec())).collect()
}

/// The loss of each step.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn stats(&mut self, stats: &Stats) {
        self.0.extend(stats.get("loss"));
    }
}

#[test]
fn supervised_fine_tuning_learns_the_completion_and_not_the_prompt() {
    let rows = response(&[9, 4, STOP]);
    let epochs = Epochs { items: rows.len(), minibatch: 4, epochs: 60, seed: 1 };
    let recipe = Supervised {
        objective: Nll,
        order: epochs,
        lr: Schedule::constant(0.02),
        batch: |_: &ModelBank, items: &[usize]| {
            let chosen: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            Ok(nll_batch(&chosen, 2, &Device::flex())?)
        },
    };
    let mut losses = Losses::default();
    let learner = learner(&Placement::sft(), &checkpoint());
    let stop = StopFlag::new();
    let trained = Trainer::new("sft", &stop).train(&recipe, learner, &mut losses).unwrap();
    trained.ended.unwrap();
    let (first, last) = (losses.0[0], losses.0[losses.0.len() - 1]);
    assert!(first > 2.0 && last < 0.05, "{first} → {last}");
    let bank = trained.learner.model();
    let sampler = SamplerConfig::greedy().build().unwrap();
    let config =
        GenerationConfig { max_new_tokens: 5, stop_tokens: vec![STOP], ..Default::default() };
    let engine = Engine::new(bank, Role::Actor, &sampler, &config).unwrap();
    for episode in
        engine.generate(&hydralign::rollout::sample_prompts(&prompts(), 1, 0, 0), &mut ()).unwrap()
    {
        assert_eq!(episode.response, [9, 4, STOP]);
        assert_eq!(episode.finish, Finish::Stop);
    }
}

#[test]
fn the_joint_model_learns_to_speak_and_to_rank() {
    let pairs: Vec<(Sequence, Sequence)> =
        response(&[9, 4, STOP]).into_iter().zip(response(&[10, 12, STOP])).collect();
    let mut learner = learner(&Placement::hydra_sft(), &checkpoint());
    let objective = HydraSft { config: HydraSftConfig { ranking_weight: 0.5, centring: 0.01 } };
    let batch = || preference_batch(&pairs, 2, &Device::flex()).unwrap();
    let first = learner.step(&objective, &batch(), 0.02).unwrap();
    let mut last = first.clone();
    for _ in 0..60 {
        last = learner.step(&objective, &batch(), 0.02).unwrap();
    }
    assert!(last.get("nll").unwrap() < 0.1, "{last:?}");
    assert_eq!(last.get("ranking_accuracy"), Some(1.0));
    assert!(last.get("ranking_margin").unwrap() > 1.0 + first.get("ranking_margin").unwrap());
}

#[test]
fn ppo_finds_the_rewarded_token_in_every_placement() {
    let wanted = 9;
    let share = |e: &Episode| e.response.iter().filter(|&&t| t == wanted).count() as f32;
    let reward = episode_fn(|all| all.iter().map(|e| share(e) / 6.0).collect::<Vec<f32>>());
    for placement in Placement::five_ppos() {
        let mut learner = learner(&placement, &checkpoint());
        let config = PpoConfig { kl: KlControl::Fixed { coef: 0.01 }, ..ppo_config() };
        let mut ppo = Ppo::new(config).unwrap();
        let mut means = Vec::new();
        for seed in 0..40 {
            let episodes = common::generate(learner.model(), seed);
            let sampler = SamplerConfig::default();
            let experience = ppo
                .experience(learner.model(), episodes, &sampler, Some(&reward), &mut ())
                .unwrap();
            means.push(experience.mean(|s| s.score.into()));
            ppo.update(&mut learner, &experience, 0.01, seed, &Device::flex(), &mut ()).unwrap();
        }
        let (early, late) =
            (means[..5].iter().sum::<f64>() / 5.0, means[35..].iter().sum::<f64>() / 5.0);
        assert!(late > early + 0.3, "{}: {early} → {late}", placement.name);
    }
}

#[test]
fn a_wrong_number_of_scores_or_a_nan_is_refused() {
    let learner = learner(&Placement::hydra_ppo(), &checkpoint());
    let episodes = common::generate(learner.model(), 0);
    let experience = |reward: &dyn Reward| {
        let mut ppo = Ppo::new(ppo_config()).unwrap();
        let sampler = SamplerConfig::default();
        ppo.experience(learner.model(), episodes.clone(), &sampler, Some(reward), &mut ())
            .unwrap_err()
    };
    let short = episode_fn(|_| vec![1.0]);
    assert!(matches!(
        experience(&short),
        AlgorithmError::Core(CoreError::ScoreCount { expected: 8, got: 1 })
    ));
    let nan = episode_fn(|e| vec![f32::NAN; e.len()]);
    assert!(matches!(
        experience(&nan),
        AlgorithmError::Core(CoreError::ScoreNotFinite { episode: 0, .. })
    ));
}

#[test]
fn log_probabilities_under_truncation_are_read_again_and_the_ratio_stays_one() {
    let mut learner = learner(&Placement::hydra_ppo(), &checkpoint());
    iterate(&mut learner, &ppo_config(), 0.05, 0);
    let settings = SamplerConfig { temperature: 0.7, top_k: Some(3), ..SamplerConfig::default() };
    let sampler = settings.build().unwrap();
    let config =
        GenerationConfig { max_new_tokens: 6, stop_tokens: vec![STOP], ..Default::default() };
    let engine = Engine::new(learner.model(), Role::Actor, &sampler, &config).unwrap();
    let prompts = hydralign::rollout::sample_prompts(&prompts(), 2, 1, 0);
    let episodes = engine.generate(&prompts, &mut ()).unwrap();
    let mut ppo = Ppo::new(ppo_config()).unwrap();
    let experience = ppo.experience(learner.model(), episodes, &settings, None, &mut ()).unwrap();
    let truncated = &experience.samples[0];
    assert_ne!(
        truncated.old_logprobs, truncated.episode.logprobs,
        "not the truncated distribution"
    );
    let report = ppo.update(&mut learner, &experience, 0.0, 0, &Device::flex(), &mut ()).unwrap();
    assert!((report.get("first_ratio").unwrap() - 1.0).abs() < 1e-5);
}

#[test]
fn a_reward_model_learns_to_rank_without_a_language_model() {
    let pairs: Vec<(Sequence, Sequence)> =
        response(&[9, 4, STOP]).into_iter().zip(response(&[10, 12, STOP])).collect();
    let mut learner = learner(&Placement::reward_model(), &checkpoint());
    let mut accuracy = 0.0;
    for _ in 0..40 {
        let batch = preference_batch(&pairs, 4, &Device::flex()).unwrap();
        let batch: Vec<_> = batch.into_iter().map(|(tokens, (_, pairs))| (tokens, pairs)).collect();
        accuracy = learner
            .step(&Pairwise::default(), &batch, 0.02)
            .unwrap()
            .get("ranking_accuracy")
            .unwrap();
    }
    assert_eq!(accuracy, 1.0);
}
