//! Metrics that keep the graph of their loss, and graphs of passes that needed none, made other
//! trainers grow from step to step. Counted by the allocator: after an iteration nothing of it
//! is left.

mod common;

use common::{checkpoint, iterate, learner, ppo_config};
use hydralign::kernels::CountingAllocator;
use hydralign::memory::{Method, PhaseName, Profile, Workload, predict};
use hydralign::models::Architecture;
use hydralign::prelude::*;
use std::sync::Mutex;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

#[test]
fn an_iteration_leaves_nothing_behind() {
    let _alone = ALONE.lock().unwrap();
    common::drive::warm_up_threads(&Device::flex());
    let start = checkpoint();
    for placement in [Placement::ppo(), Placement::j_hydra_ppo(), Placement::hydra_ppo()] {
        let mut learner = learner(&placement, &start);
        // The first iterations make the optimizer's state and the threads' buffers.
        let mut reports = Vec::with_capacity(10);
        let mut held = Vec::new();
        for seed in 0..10 {
            CountingAllocator::reset_peak();
            // The reports are kept, as a program that logs them would.
            reports.push(iterate(&mut learner, &ppo_config(), 0.01, seed).1);
            held.push(CountingAllocator::live());
        }
        let needed = CountingAllocator::peak() - held[9];
        let grown = held[9].saturating_sub(held[4]);
        assert!(
            grown * 20 < needed,
            "{}: five iterations left {grown} bytes, each needs {needed}: {held:?}",
            placement.name
        );
    }
}

/// The allocator counts the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What stands beside checkpoints of a method: categories of the whole phase, with and without.
fn copy_of(placement: &Placement, architecture: &Architecture) -> u64 {
    let (method, lora) = (Method::ppo(placement), common::lora());
    let without = Workload::uniform(2, 4, 4);
    let with = Workload { checkpoints: true, ..without.clone() };
    let total = |workload: &Workload| {
        let profile = Profile::flex(2);
        let all = predict(&method, architecture, &lora, workload, &profile).unwrap();
        PhaseName::ALL.map(|phase| all.get(phase).unwrap().total())
    };
    let (with, without) = (total(&with), total(&without));
    let copies = [0, 1, 2].map(|phase| with[phase] - without[phase]);
    assert_eq!(copies, [copies[0]; 3], "it is written beside every phase");
    copies[0]
}

#[test]
fn a_checkpoint_holds_what_is_predicted() {
    let _alone = ALONE.lock().unwrap();
    common::drive::warm_up_threads(&Device::flex());
    let wide = ModelShape { vocab: 512, hidden: 192, intermediate: 384, ..common::shape() };
    let architecture = Architecture::llama(&wide, 64, common::STOP).unwrap();
    let start = common::drive::checkpoint(&architecture, &Device::flex());
    for placement in Placement::five_ppos() {
        let mut learner = learner(&placement, &start);
        iterate(&mut learner, &ppo_config(), 0.01, 0);
        let before = CountingAllocator::live();
        CountingAllocator::reset_peak();
        let record = learner.to_record().unwrap();
        let (held, most) = (CountingAllocator::live() - before, CountingAllocator::peak() - before);
        let ratio = copy_of(&placement, &architecture) as f64 / held as f64;
        assert!((ratio - 1.0).abs() < 0.01, "{}: predicted {ratio:.4} of it", placement.name);
        // In the making, the moments stand there twice for a moment, and what names them.
        let names = (1 << 10) * learner.optimizer_tensors() as u64;
        assert!(3 * most < 4 * held + 3 * names, "{}: {most} for {held}", placement.name);
        drop(record);
    }
}
