//! Successive policy re-weighting: sample, score, weigh, learn, with one model in memory at a time.
//!
//! ```text
//! cargo run --release --example spr
//! cargo run --release --example spr -- --beta ess=0.5 --samples 16
//! cargo run --release --example spr -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hydralign::algorithms::{Epochs, Temperature, WeightedSequence, weighted_batch};
use hydralign::core::random::sub_seed;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::memory::format_bytes;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Schedule, stop_on_ctrl_c};
use hydralign_examples::setup::{CommonArgs, Setup};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Aligns a policy by re-weighted supervised learning.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// β, or `ess=SHARE` to choose it for an effective sample size.
    #[arg(long, default_value = "0.5")]
    beta: String,
    /// Iterations.
    #[arg(long, default_value_t = 8)]
    iterations: usize,
    /// Prompts of an iteration.
    #[arg(long, default_value_t = 32)]
    prompts_per_iteration: usize,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 8)]
    samples: usize,
    /// Peak learning rate, falling to 0.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
}

impl Args {
    fn method(&self) -> Result<Reweighting> {
        let number = |text: &str| text.parse::<f64>().with_context(|| format!("--beta {text}"));
        Ok(Reweighting::spr(match self.beta.strip_prefix("ess=") {
            Some(share) => Temperature::TargetEss { share: number(share)? },
            None => Temperature::Fixed { beta: number(&self.beta)? },
        }))
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let method = args.method()?;
    ensure!(
        args.samples >= 2,
        "--samples must be at least 2: one alone has nothing to compare with"
    );
    retain_freed_memory();
    let mut setup = args.common.open("spr", &stop_on_ctrl_c()?)?;
    setup.reward()?;
    println!("before: {}", setup.show(&ModelBank::frozen(setup.policy.clone()))?);
    let schedule = Schedule::linear(args.lr);
    for iteration in 0..args.iterations {
        if setup.stop.is_stopped() {
            break;
        }
        CountingAllocator::reset_peak();
        let prompts = setup.prompts_of(iteration, args.prompts_per_iteration)?;
        let policy = ModelBank::frozen(setup.policy.clone());
        let episodes = setup.sample(&policy, &prompts, args.samples, iteration)?;
        drop(policy);
        let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let scores = setup.scores(&rows)?;
        let groups: Vec<Vec<Sequence>> = rows.chunks(args.samples).map(<[_]>::to_vec).collect();
        let by_group: Vec<Vec<f32>> = scores.chunks(args.samples).map(<[_]>::to_vec).collect();
        let weighted = method.weigh(&groups, &by_group, None)?;
        let lr = schedule.lr(iteration + 1, args.iterations);
        setup.policy = learn(&setup, &weighted.rows, lr, iteration)?;
        let score = scores.iter().sum::<f32>() / scores.len() as f32;
        println!(
            "iteration {}: score {score:.3}, β {:.3}, ESS/N {:.2}, peak {}",
            iteration + 1,
            weighted.temperature,
            weighted.ess,
            format_bytes(CountingAllocator::peak())
        );
    }
    let bank = ModelBank::frozen(setup.policy.clone());
    println!("after:  {}", setup.show(&bank)?);
    println!("saved in {}", setup.save(&bank)?.display());
    Ok(())
}

/// Weighted supervised learning from the current policy; returns the next one.
fn learn(
    setup: &Setup,
    rows: &[WeightedSequence],
    lr: f64,
    iteration: usize,
) -> Result<Checkpoint> {
    let placement = Placement::policy("spr", false, false);
    let bank = ModelBank::new(&placement, &Start::joint(&setup.policy), &LoraShape::default(), 0)?;
    let bank = setup.passes.carry(bank)?;
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let seed = sub_seed(setup.seed, &format!("spr {iteration}"));
    let epochs = Epochs { items: rows.len(), minibatch: 32, epochs: 2, seed };
    for items in epochs.minibatches() {
        let part: Vec<WeightedSequence> = items.iter().map(|&i| rows[i].clone()).collect();
        let micro_batch = setup.passes.micro_batch.unwrap_or(32);
        learner.step(&Nll, &weighted_batch(&part, micro_batch, &setup.device)?, lr)?;
    }
    Ok(learner.into_model().checkpoint(Role::Actor)?)
}
