//! A long run holds at its end what it held at its beginning, and has learnt.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a long test tells what it measured")]

mod common;

use common::{STOP, checkpoint, full, learner, ppo_config, prompts};
use hydralign::kernels::CountingAllocator;
use hydralign::prelude::*;
use hydralign::runs::{MetricsFile, Schedule, StopFlag, read_metrics};
use hydralign::train::Checkpoints;
use std::fs;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Live bytes and open files after each step.
#[derive(Default)]
struct Held {
    bytes: Vec<u64>,
    files: Vec<usize>,
}

impl Observer for Held {
    fn stats(&mut self, _: &Stats) {
        self.bytes.push(CountingAllocator::live());
        self.files.push(fs::read_dir("/proc/self/fd").unwrap().count());
    }
}

/// Steps after which everything that is made once is there.
const FIRST: usize = 10;

#[test]
fn a_long_run_of_ppo_stays_as_large_as_it_was_and_learns() {
    common::drive::warm_up_threads(&Device::flex());
    let steps = if full() { 2_000 } else { 120 };
    let folder = tempfile::tempdir().unwrap();
    let prompts = prompts();
    let low = |e: &Episode| e.response.iter().filter(|&&t| t < 9 && t != STOP).count() as f32;
    let reward = episode_fn(|episodes: &[Episode]| -> Vec<f32> {
        episodes.iter().map(|e| low(e) / e.response.len().max(1) as f32).collect()
    });
    let generation = GenerationConfig {
        max_new_tokens: 6,
        stop_tokens: vec![STOP],
        ..GenerationConfig::default()
    };
    let sampling =
        Sampling { prompts_per_round: 4, samples: 2, ..Sampling::new(&prompts, generation) };
    let recipe = PpoRecipe {
        ppo: ppo_config(),
        reward: Some(&reward),
        lr: Schedule::constant(0.01),
        ..PpoRecipe::new(sampling, steps, &Device::flex())
    };
    let stop = StopFlag::new();
    // The last checkpoint is of the last step: none is being written while bytes are counted.
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), "soak", steps, 2);
    let trainer = Trainer { checkpoints: Some(checkpoints), ..Trainer::new("ppo", &stop) };
    let path = folder.path().join("metrics.jsonl");
    let mut metrics = MetricsFile::create(&path).unwrap();
    let mut held = Held { bytes: Vec::with_capacity(steps), files: Vec::with_capacity(steps) };
    let placement = Placement::hydra_ppo().without_reward();
    let learner = learner(&placement, &checkpoint());
    let mut observers = (&mut metrics, &mut held);
    let trained = trainer.train(&recipe, learner, &mut observers).unwrap();
    trained.ended.unwrap();
    metrics.finish().unwrap();

    // Each step leaves as much as its batch needs: compare the most of many.
    let most = |bytes: &[u64]| *bytes.iter().max().unwrap() as f64;
    let (early, late) = (most(&held.bytes[FIRST..2 * FIRST]), most(&held.bytes[steps - FIRST..]));
    let files = &held.files[FIRST..];
    println!("{steps} steps: {early} bytes live, then {late}; {} files open", files[0]);
    assert!(late < 1.01 * early, "{early} bytes live at first, {late} in the end");
    assert!(files.iter().all(|n| *n == files[0]), "{files:?}");
    let scores: Vec<f64> =
        read_metrics(&path).unwrap().iter().map(|line| line.get("score").unwrap()).collect();
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let (before, after) = (mean(&scores[..FIRST]), mean(&scores[steps - FIRST..]));
    println!("score {before:.3}, then {after:.3}");
    assert!(after > before + 0.1, "{before} at first, {after} in the end");
}
