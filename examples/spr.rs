//! Successive policy re-weighting: sample, score, weigh, learn, with one model in memory at a time.
//!
//! ```text
//! cargo run --release --example spr
//! cargo run --release --example spr -- --beta ess=0.5 --samples 16
//! cargo run --release --example spr -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! cargo run --release --example spr -- --resume DIR
//! ```
use anyhow::{Context, Result, ensure};
use clap::Parser;
use hydralign::algorithms::Temperature;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::memory::format_bytes;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Schedule, stop_on_ctrl_c};
use hydralign::train::{HeldOutPolicy, Offline};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::CommonArgs;
use hydralign_examples::watch::{RolloutGuardArgs, WatchArgs};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Aligns a policy by re-weighted supervised learning.
#[derive(Parser, Debug, Serialize)]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    #[serde(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    #[serde(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    #[serde(flatten)]
    rollout_guards: RolloutGuardArgs,
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
        self.resume.check()?;
        self.watch.check()?;
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
            Some(share) => {
                let share = number(share)?;
                ensure!(share < 1.0, "--beta ess={share}: the share must be below 1");
                Temperature::TargetEss { share }
            }
            None => Temperature::Fixed { beta: number(&self.beta)? },
        }))
    }
}

fn main() -> Result<()> {
    let mut args: Args = flags::parse()?;
    args.common.fill(Some(MICRO_BATCH));
    let method = args.method()?;
    args.check()?;
    retain_freed_memory();
    let mut setup = args.common.open("spr", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    let reward = setup.passing_reward()?;
    let folder = setup.begin(&args)?;
    let policy = setup.prepare(&folder, || {
        let start = ModelBank::frozen(setup.policy.clone());
        say!("before: {}", setup.show_start(&start, Some(&folder))?);
        setup.policy()
    })?;
    let prompts = args.watch.prompts(&setup, &reward, None)?;
    let evaluation = HeldOutPolicy { prompts, execution: setup.passes.execution() };
    let recipe = OneModelRecipe {
        method: Weighing::Scores(method),
        offline: Offline::default(),
        sampling: Sampling {
            prompts: setup.prompts()?,
            prompts_per_round: args.prompts_per_iteration,
            samples: args.samples,
            sampler: SamplerConfig::default(),
            generation: setup.generation.clone(),
            seed: setup.seed,
        },
        reward: &reward,
        steps: args.iterations,
        epochs: 2,
        minibatch: 32,
        micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
        optimizer: OptimizerConfig::default(),
        lr: Schedule::linear(args.lr),
        execution: setup.passes.execution(),
    };
    let bank = |policy: Policy| ModelBank::frozen(policy.model().clone());
    let shown = ["score", "beta", "ess", "loss"];
    let watch = args.watch.with(&evaluation, args.rollout_guards.guards())?;
    setup.train("spr", (folder, &args.resume), &recipe, (policy, bank), watch, (&shown, 1))?;
    say!("peak {}", format_bytes(CountingAllocator::peak()));
    Ok(())
}
