//! Criterion groups. One question each:
//!
//! - `generate`: new tokens per second, greedy and sampled, batch 16, 64 + 64 tokens;
//! - `logprobs`: tokens per second of a pass without a graph, 16 × 128;
//! - `train_step`: tokens per second of a full and of a LoRA step, 16 × 128;
//! - `ppo_iteration`: episodes per second of one whole iteration in each placement;
//! - `advantage`: tokens per second of rewards, GAE and whitening on the host.
//!
//! `RAYON_NUM_THREADS=1` makes wall seconds CPU seconds.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hydralign::advantage::{RewardShaping, Variance, gae, shape_rewards, whiten};
use hydralign::algorithms::nll_batch;
use hydralign::core::random;
use hydralign::kernels::retain_freed_memory;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign_benches::{bank, prompts, sequences, shape_a, shape_task};
use std::hint::black_box;
use std::time::Duration;

const ROWS: usize = 16;
const WIDTH: usize = 128;

fn settings(c: &mut Criterion, name: &str, tokens: usize, run: &mut dyn FnMut()) {
    let (group, id) = name.split_once('/').expect("group/id");
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(tokens as u64));
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    group.bench_function(id, |b| b.iter(&mut *run));
    group.finish();
}

fn generate(c: &mut Criterion) {
    retain_freed_memory();
    let shape = shape_a();
    let prompts = prompts(ROWS, 64, shape.vocab);
    let config = GenerationConfig { max_new_tokens: 64, batch_size: ROWS, ..Default::default() };
    let plain = bank(&Placement::sft(), &shape);
    let adapted = bank(&Placement::sft().with_adapter("actor"), &shape);
    let cases = [
        ("greedy", &plain, SamplerConfig::greedy()),
        ("sampled", &plain, SamplerConfig::default()),
        ("greedy_lora", &adapted, SamplerConfig::greedy()),
    ];
    for (id, bank, sampler) in cases {
        let sampler = sampler.build().expect("valid");
        settings(c, &format!("generate/{id}"), ROWS * 64, &mut || {
            let engine = Engine::new(bank, Role::Actor, &sampler, &config).expect("valid");
            black_box(engine.generate(&prompts, &mut ()).expect("generates"));
        });
    }
}

fn logprobs(c: &mut Criterion) {
    let shape = shape_a();
    let bank = bank(&Placement::sft(), &shape);
    let batch = TokenBatch::new(sequences(ROWS, WIDTH, shape.vocab)).expect("not empty");
    let reading = Reading::Logprobs(Role::Actor);
    settings(c, "logprobs/16x128", ROWS * WIDTH, &mut || {
        let outputs = bank.read(&[Request::constant(reading)], &batch).expect("fits");
        black_box(outputs.to_vec(reading).expect("was read"));
    });
}

fn train_step(c: &mut Criterion) {
    let shape = shape_a();
    let rows = sequences(ROWS, WIDTH, shape.vocab);
    for (id, placement) in
        [("full", Placement::sft()), ("lora_r16", Placement::sft().with_adapter("actor"))]
    {
        let mut learner = Learner::new(bank(&placement, &shape), &OptimizerConfig::default());
        settings(c, &format!("train_step/{id}"), ROWS * WIDTH, &mut || {
            let batch = nll_batch(&rows, ROWS, &Device::flex()).expect("not empty");
            black_box(learner.step(&Nll, &batch, 1e-4).expect("finite"));
        });
    }
}

/// Sample, score, credit and four optimizer steps on 16 episodes of 12 + 24 tokens.
fn iteration(learner: &mut Learner<ModelBank>, prompts: &[Prompt]) {
    let settings = SamplerConfig::default();
    let sampler = settings.build().expect("valid");
    let config = GenerationConfig { max_new_tokens: 24, batch_size: ROWS, ..Default::default() };
    let engine = Engine::new(learner.model(), Role::Actor, &sampler, &config).expect("valid");
    let episodes = engine.generate(prompts, &mut ()).expect("generates");
    let config = PpoConfig { epochs: 2, minibatches: 2, ..PpoConfig::default() };
    let mut ppo = Ppo::new(config).expect("valid");
    let experience =
        ppo.experience(learner.model(), episodes, &settings, None, &mut ()).expect("scores");
    let report = ppo.update(learner, &experience, 1e-4, 1, &Device::flex(), &mut ());
    black_box(report.expect("finite"));
}

fn ppo_iteration(c: &mut Criterion) {
    let shape = shape_task();
    let prompts = prompts(ROWS, 12, shape.vocab);
    for placement in Placement::five_ppos() {
        let mut learner = Learner::new(bank(&placement, &shape), &OptimizerConfig::default());
        settings(c, &format!("ppo_iteration/{}", placement.name), ROWS, &mut || {
            iteration(&mut learner, &prompts);
        });
    }
}

fn advantage(c: &mut Criterion) {
    let (episodes, tokens) = (512usize, 256usize);
    let row = |seed: u64, scale: f64| -> Vec<Vec<f32>> {
        let value = |e: usize, t: usize| random::uniform(seed, e as u64, t as u64) * scale;
        (0..episodes).map(|e| (0..tokens).map(|t| value(e, t) as f32).collect()).collect()
    };
    let (logprobs, reference, values) = (row(1, -3.0), row(2, -3.0), row(3, 1.0));
    let mut group = c.benchmark_group("advantage");
    group.throughput(Throughput::Elements((episodes * tokens) as u64));
    group.bench_function("rewards_gae_whiten_512x256", |b| {
        b.iter_batched(
            RewardShaping::default,
            |shaping| {
                let credit = |i: usize| {
                    let (p, q) = (&logprobs[i], &reference[i]);
                    let shaped = shape_rewards(p, q, 1.0, true, 0.05, &shaping).expect("finite");
                    gae(&shaped.rewards, &values[i], 1.0, 0.95).expect("finite").advantages
                };
                let mut advantages: Vec<Vec<f32>> = (0..episodes).map(credit).collect();
                whiten(&mut advantages, true, Variance::Unbiased).expect("many values");
                black_box(advantages)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(groups, generate, logprobs, train_step, ppo_iteration, advantage);
criterion_main!(groups);
