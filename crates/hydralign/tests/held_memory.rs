//! Metrics that keep the graph of their loss, and graphs of passes that needed none, made other
//! trainers grow from step to step. Counted by the allocator: after an iteration nothing of it
//! is left.

mod common;

use common::{checkpoint, iterate, learner, ppo_config};
use hydralign::kernels::CountingAllocator;
use hydralign::prelude::*;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

#[test]
fn an_iteration_leaves_nothing_behind() {
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
