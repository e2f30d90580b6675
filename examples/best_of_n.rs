//! Best-of-N: as sampling, and as training on what was best (RAFT).
//!
//! ```text
//! cargo run --release --example best_of_n
//! cargo run --release --example best_of_n -- --n 16 --train --iterations 4
//! cargo run --release --example best_of_n -- --model DIR --reward DIR --prompts FILE.jsonl --train --out DIR
//! cargo run --release --example best_of_n -- --resume DIR
//! ```
use anyhow::Result;
use clap::Parser;
use hydralign::advantage::{Selection, best_of_n_kl};
use hydralign::algorithms::best_of;
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Method;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{RunFolder, stop_on_ctrl_c};
use hydralign::train::{Offline, Sampling};
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup, nothing_learnt};
use hydralign_examples::watch::Watch;
use serde::Serialize;

/// Samples N responses and takes the best.
#[derive(Parser, Debug, Serialize)]
#[command(mut_arg("out", |a| a.requires("train")), mut_arg("overwrite", |a| a.requires("train")))]
#[command(mut_arg("dry_run", |a| a.requires("train")))]
#[command(mut_arg("lora_rank", |a| a.requires("train")))]
#[command(mut_arg("checkpoint_every", |a| a.requires("train")))]
#[command(mut_arg("keep_checkpoints", |a| a.requires("train")))]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    #[serde(flatten)]
    resume: ResumeArgs,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 8)]
    n: usize,
    /// Learn from the best of the training prompts' responses, and save the policy.
    #[arg(long)]
    train: bool,
    /// Times that the policy samples anew and learns.
    #[arg(long, default_value_t = 1, requires = "train")]
    iterations: usize,
    /// Training prompts of an iteration.
    #[arg(long, default_value_t = 512, requires = "train")]
    train_prompts: usize,
    /// Learning rate.
    #[arg(long, default_value_t = 3e-4, requires = "train")]
    lr: f64,
}

/// Rows that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 32;
/// Rows of an optimizer step.
const MINIBATCH: usize = 32;

fn main() -> Result<()> {
    flags::run("best_of_n", run)
}

fn run(mut args: Args) -> Result<()> {
    args.check()?;
    args.common.fill(args.train.then_some(MICRO_BATCH));
    retain_freed_memory();
    let mut setup = args.common.open("best_of_n", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    let reward = setup.passing_reward()?;
    if !args.train {
        return measure(&args, &setup, None);
    }
    setup.prompts()?;
    if args.common.dry_run {
        return args.tell(&setup);
    }
    let folder = setup.begin(&args)?;
    let policy = setup.prepare(&folder, || {
        measure(&args, &setup, Some(&folder))?;
        setup.policy()
    })?;
    let recipe = OneModelRecipe {
        method: Weighing::Choice(Selection::Best),
        sampling: args.sampling(&setup)?,
        offline: Offline::default(),
        reward: &reward,
        steps: args.iterations,
        epochs: 1,
        minibatch: MINIBATCH,
        micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
        optimizer: OptimizerConfig::default(),
        lr: Schedule::constant(args.lr),
        execution: setup.passes.execution(),
    };
    let bank = |policy: Policy| ModelBank::frozen(policy.model().clone());
    let (run, shown) = ((folder, &args.resume), ["score", "learnt", "loss"]);
    setup.train("best_of_n", run, &recipe, (policy, bank), Watch::default(), (&shown, 1))
}

impl Args {
    fn sampling<'a>(&self, setup: &'a Setup) -> Result<Sampling<'a>> {
        Ok(Sampling {
            prompts_per_round: self.train_prompts,
            samples: self.n,
            seed: setup.seed,
            ..Sampling::new(setup.prompts()?, setup.generation.clone())
        })
    }

    /// Says what the run would do.
    fn tell(&self, setup: &Setup) -> Result<()> {
        let sampling = self.sampling(setup)?;
        setup.check_place(self)?;
        let count = self.train_prompts * self.n;
        let batches = Batches {
            minibatch: MINIBATCH,
            micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
            sequences: 1,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let prompt = sampling.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let workload = setup.workload(batches, count, (prompt, self.common.max_new_tokens));
        let work = (setup.adapted(Method::spr())?, workload);
        let times = (self.iterations, 1, 1.0 / self.n as f64);
        setup.tell(Stage::sampled("best_of_n", work, &sampling, times, 0))
    }

    fn check(&self) -> Result<()> {
        let given = [("--preferences", self.common.preferences.is_some())];
        flags::unused(&given, "best_of_n, which learns from prompts")?;
        let steps = [("--micro-batch", self.common.passes.micro_batch.is_some())];
        flags::unused(&steps[..usize::from(!self.train)], "no --train")?;
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        flags::counts(&[
            ("--n", self.n),
            ("--train-prompts", self.train_prompts),
            ("--iterations", self.iterations),
        ])
    }
}

/// How good one sample and the best of N are on the held-out prompts.
fn measure(args: &Args, setup: &Setup, folder: Option<&RunFolder>) -> Result<()> {
    let policy = ModelBank::frozen(setup.policy.clone());
    say!("one sample:  {}", setup.show_start(&policy, folder)?);
    if setup.data.held_out.is_empty() {
        return Ok(());
    }
    let best = match best_responses(setup, &policy, args.n) {
        Err(_) if setup.stop.is_stopped() => return Err(nothing_learnt()),
        best => best?,
    };
    let kl = best_of_n_kl(args.n);
    say!("best of {}:   {}, KL at most {kl:.2} nats", args.n, setup.describe(&best)?);
    Ok(())
}

/// The best response to each held-out prompt.
fn best_responses(setup: &Setup, policy: &ModelBank, n: usize) -> Result<Vec<Episode>> {
    let episodes = setup.sample(policy, &setup.data.held_out, n, 0)?;
    let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
    let scores: Vec<Vec<f32>> = setup.scores(&rows)?.chunks(n).map(<[f32]>::to_vec).collect();
    let groups: Vec<Vec<Episode>> = episodes.chunks(n).map(<[Episode]>::to_vec).collect();
    Ok(best_of(&groups, &scores))
}
