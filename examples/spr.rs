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
use hydralign::memory::{Method, format_bytes};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Schedule, stop_on_ctrl_c};
use hydralign::train::{HeldOutPolicy, Offline, Sampling};
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
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
/// Rows of an optimizer step.
const MINIBATCH: usize = 32;
/// Passes over the responses of an iteration.
const EPOCHS: usize = 2;

impl Args {
    fn sampling<'a>(&self, setup: &'a Setup) -> Result<Sampling<'a>> {
        Ok(Sampling {
            prompts: setup.prompts()?,
            prompts_per_round: self.prompts_per_iteration,
            samples: self.samples,
            sampler: SamplerConfig::default(),
            generation: setup.generation.clone(),
            seed: setup.seed,
        })
    }

    /// Says what the run would do.
    fn tell(&self, setup: &Setup) -> Result<()> {
        let sampling = self.sampling(setup)?;
        setup.check_place(self)?;
        let count = self.prompts_per_iteration * self.samples;
        let batches = Batches {
            minibatch: MINIBATCH,
            micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
            sequences: 1,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let prompt = sampling.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let workload = setup.workload(batches, count, (prompt, self.common.max_new_tokens));
        let work = (setup.adapted(Method::spr())?, workload);
        let times = (self.iterations, 1, EPOCHS as f64);
        setup.tell(Stage::sampled("spr", work, &sampling, times, 0))
    }

    fn check(&self) -> Result<()> {
        let given = [("--preferences", self.common.preferences.is_some())];
        flags::unused(&given, "spr, which learns from prompts")?;
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        self.watch.check(&self.resume)?;
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
    flags::run("spr", run)
}

fn run(mut args: Args) -> Result<()> {
    args.common.fill(Some(MICRO_BATCH));
    let method = args.method()?;
    args.check()?;
    retain_freed_memory();
    let mut setup = args.common.open("spr", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    let reward = setup.passing_reward()?;
    if args.common.dry_run {
        return args.tell(&setup);
    }
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
        sampling: args.sampling(&setup)?,
        reward: &reward,
        steps: args.iterations,
        epochs: EPOCHS,
        minibatch: MINIBATCH,
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
