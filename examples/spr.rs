//! Successive policy re-weighting: sample, score, weigh, learn, with one model in memory at a time.
//!
//! ```text
//! cargo run --release --example spr
//! cargo run --release --example spr -- --beta ess=0.5 --samples 16
//! cargo run --release --example spr -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! ```
use anyhow::{Context, Result, ensure};
use clap::Parser;
use hydralign::algorithms::{Epochs, Order as _, Temperature, WeightedSequence, weighted_batch};
use hydralign::core::random::sub_seed;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::memory::format_bytes;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Schedule, Steps, stop_on_ctrl_c};
use hydralign_examples::flags;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Aligns a policy by re-weighted supervised learning.
#[derive(Parser, Debug, Serialize)]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
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

/// Rows that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 32;

impl Args {
    fn check(&self) -> Result<()> {
        let given = [("--preferences", self.common.preferences.is_some())];
        flags::unused(&given, "spr, which learns from prompts")?;
        flags::rate("--lr", self.lr)?;
        flags::counts(&[
            ("--iterations", self.iterations),
            ("--prompts-per-iteration", self.prompts_per_iteration),
        ])?;
        ensure!(
            self.samples >= 2,
            "--samples must be at least 2: one alone has nothing to compare with"
        );
        Ok(())
    }

    fn method(&self) -> Result<Reweighting> {
        let number = |text: &str| -> Result<f64> {
            let value = text.parse().with_context(|| format!("--beta {text}"))?;
            flags::positive("--beta", value)?;
            Ok(value)
        };
        Ok(Reweighting::spr(match self.beta.strip_prefix("ess=") {
            Some(share) => Temperature::TargetEss { share: number(share)? },
            None => Temperature::Fixed { beta: number(&self.beta)? },
        }))
    }

    /// Sample, score, weigh, learn. The policy is the last good one whatever comes; true if it has moved.
    fn iterate(
        &self,
        setup: &mut Setup,
        method: &Reweighting,
        iteration: usize,
    ) -> (bool, Result<()>) {
        let weighted = match self.weigh(setup, method, iteration) {
            Ok(weighted) => weighted,
            Err(error) => return (false, Err(error)),
        };
        let lr = Schedule::linear(self.lr).lr(iteration + 1, self.iterations);
        match learn(setup, &weighted, lr, iteration) {
            Ok((policy, steps, ended)) => {
                setup.policy = policy;
                (steps > 0, ended)
            }
            Err(error) => (false, Err(error)),
        }
    }

    fn weigh(
        &self,
        setup: &Setup,
        method: &Reweighting,
        iteration: usize,
    ) -> Result<Vec<WeightedSequence>> {
        CountingAllocator::reset_peak();
        let prompts = setup.prompts_of(iteration, self.prompts_per_iteration)?;
        let policy = ModelBank::frozen(setup.policy.clone());
        let episodes = setup.sample(&policy, &prompts, self.samples, iteration)?;
        drop(policy);
        let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let scores = setup.scores(&rows)?;
        let groups: Vec<Vec<Sequence>> = rows.chunks(self.samples).map(<[_]>::to_vec).collect();
        let by_group: Vec<Vec<f32>> = scores.chunks(self.samples).map(<[_]>::to_vec).collect();
        let weighted = method.weigh(&groups, &by_group, None)?;
        let score = scores.iter().sum::<f32>() / scores.len() as f32;
        say!(
            "iteration {}: score {score:.3}, β {:.3}, ESS/N {:.2}",
            iteration + 1,
            weighted.temperature,
            weighted.ess,
        );
        Ok(weighted.rows)
    }
}

fn main() -> Result<()> {
    let mut args: Args = flags::parse()?;
    args.common.fill(Some(MICRO_BATCH));
    let method = args.method()?;
    args.check()?;
    retain_freed_memory();
    let mut setup = args.common.open("spr", &stop_on_ctrl_c()?)?;
    setup.reward()?;
    setup.prompts()?;
    let folder = setup.begin(&args)?;
    setup.prepare(&folder, || {
        say!("before: {}", setup.show_start(&ModelBank::frozen(setup.policy.clone()))?);
        Ok(())
    })?;
    let mut progress = Steps { done: 0, steps: args.iterations, begun: false };
    let mut ended = Ok(());
    while progress.done < args.iterations && ended.is_ok() && !setup.stop.is_stopped() {
        (progress.begun, ended) = args.iterate(&mut setup, &method, progress.done);
        if ended.is_ok() {
            (progress.done, progress.begun) = (progress.done + 1, false);
            say!("peak {}", format_bytes(CountingAllocator::peak()));
        }
    }
    if setup.stop.is_stopped() {
        ended = Ok(()); // sampling was cut short
    }
    let bank = ModelBank::frozen(setup.policy.clone());
    setup.finish(folder, &bank, progress, ended)
}

/// Weighted supervised learning from the current policy: the next one, the steps taken, and how it ended.
fn learn(
    setup: &Setup,
    rows: &[WeightedSequence],
    lr: f64,
    iteration: usize,
) -> Result<(Checkpoint, usize, Result<()>)> {
    let placement = Placement::policy("spr", false, false);
    let bank = ModelBank::new(&placement, &Start::joint(&setup.policy), &LoraShape::default(), 0)?;
    let bank = setup.passes.carry(bank)?;
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let seed = sub_seed(setup.seed, &format!("spr {iteration}"));
    let epochs = Epochs { items: rows.len(), minibatch: 32, epochs: 2, seed };
    let micro_batch = setup.passes.micro_batch.unwrap_or(MICRO_BATCH);
    let ended = epochs.minibatches().try_for_each(|items| -> Result<()> {
        let part: Vec<WeightedSequence> = items.iter().map(|&i| rows[i].clone()).collect();
        learner.step(&Nll, &weighted_batch(&part, micro_batch, &setup.device)?, lr)?;
        Ok(())
    });
    let steps = learner.steps();
    let policy = learner.into_model().checkpoint(Role::Actor)?;
    Ok((policy, steps, ended))
}
