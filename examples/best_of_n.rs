//! Best-of-N: as sampling, and as training on what was best (RAFT).
//!
//! ```text
//! cargo run --release --example best_of_n
//! cargo run --release --example best_of_n -- --n 16 --train
//! cargo run --release --example best_of_n -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! ```
use anyhow::Result;
use clap::Parser;
use hydralign::advantage::{Selection, best_of_n_kl};
use hydralign::algorithms::{WeightedSequence, best_of, kept, weighted_batch};
use hydralign::kernels::retain_freed_memory;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{RunFolder, Steps, stop_on_ctrl_c};
use hydralign_examples::flags;
use hydralign_examples::resume::metrics_after;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup, nothing_learnt};
use serde::Serialize;

/// Samples N responses and takes the best.
#[derive(Parser, Debug, Serialize)]
#[command(mut_arg("out", |a| a.requires("train")), mut_arg("overwrite", |a| a.requires("train")))]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 8)]
    n: usize,
    /// Learn from the best of the training prompts' responses, and save the policy.
    #[arg(long)]
    train: bool,
    /// Training prompts.
    #[arg(long, default_value_t = 512, requires = "train")]
    train_prompts: usize,
    /// Learning rate.
    #[arg(long, default_value_t = 3e-4, requires = "train")]
    lr: f64,
}

fn main() -> Result<()> {
    let mut args: Args = flags::parse()?;
    let given = [("--preferences", args.common.preferences.is_some())];
    flags::unused(&given, "best_of_n, which learns from prompts")?;
    let steps = [("--micro-batch", args.common.passes.micro_batch.is_some())];
    flags::unused(&steps[..usize::from(!args.train)], "no --train")?;
    flags::rate("--lr", args.lr)?;
    flags::counts(&[("--n", args.n), ("--train-prompts", args.train_prompts)])?;
    args.common.fill(args.train.then_some(MICRO_BATCH));
    retain_freed_memory();
    let setup = args.common.open("best_of_n", &stop_on_ctrl_c()?)?;
    setup.reward()?;
    let policy = ModelBank::frozen(setup.policy.clone());
    if !args.train {
        return measure(&args, &setup, &policy, None);
    }
    let prompts = setup.prompts_of(0, args.train_prompts)?;
    let folder = setup.begin(&args)?;
    let rows = setup.prepare(&folder, || {
        measure(&args, &setup, &policy, Some(&folder))?;
        match best_responses(&setup, &policy, &prompts, args.n) {
            Err(_) if setup.stop.is_stopped() => Ok(Vec::new()),
            rows => Ok(rows?.1),
        }
    })?;
    drop(policy);
    let placement = Placement::policy("raft", false, false);
    let start = Start::joint(&setup.policy);
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0)?;
    let mut learner = Learner::new(setup.passes.carry(bank)?, &OptimizerConfig::default());
    let steps = args.train_prompts.div_ceil(MINIBATCH);
    let mut metrics = setup.prepare(&folder, || metrics_after(&folder, 0))?;
    let ended = args.learn(&setup, &mut learner, (&rows, steps), &mut metrics);
    let ended = ended.and(metrics.finish().map_err(Into::into));
    let progress = Steps { done: learner.steps(), steps, begun: false };
    setup.finish(folder, learner.model(), progress, ended)
}

/// Responses of an optimizer step.
const MINIBATCH: usize = 32;
/// Rows that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 32;

impl Args {
    fn learn(
        &self,
        setup: &Setup,
        learner: &mut Learner<ModelBank>,
        (rows, steps): (&[WeightedSequence], usize),
        observer: &mut dyn Observer,
    ) -> Result<()> {
        for (done, part) in rows.chunks(MINIBATCH).enumerate() {
            if setup.stop.is_stopped() {
                break;
            }
            let micro_batch = setup.passes.micro_batch.unwrap_or(MICRO_BATCH);
            observer.phase(Phase::Update);
            let batch = weighted_batch(part, micro_batch, &setup.device)?;
            let values = learner.step(&Nll, &batch, self.lr)?.values(self.lr);
            observer.stats(&Stats { stage: "best_of_n".into(), step: done + 1, steps, values });
        }
        Ok(())
    }
}

/// How good one sample and the best of N are on the held-out prompts.
fn measure(
    args: &Args,
    setup: &Setup,
    policy: &ModelBank,
    folder: Option<&RunFolder>,
) -> Result<()> {
    say!("one sample:  {}", setup.show_start(policy, folder)?);
    if setup.data.held_out.is_empty() {
        return Ok(());
    }
    let (best, _) = match best_responses(setup, policy, &setup.data.held_out, args.n) {
        Err(_) if setup.stop.is_stopped() => return Err(nothing_learnt()),
        best => best?,
    };
    let kl = best_of_n_kl(args.n);
    say!("best of {}:   {}, KL at most {kl:.2} nats", args.n, setup.describe(&best)?);
    Ok(())
}

/// The best response to each prompt, and the same as rows to learn from.
fn best_responses(
    setup: &Setup,
    policy: &ModelBank,
    prompts: &[Vec<u32>],
    n: usize,
) -> Result<(Vec<Episode>, Vec<WeightedSequence>)> {
    let episodes = setup.sample(policy, prompts, n, 0)?;
    let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
    let scores = setup.scores(&rows)?;
    let by_prompt: Vec<Vec<f32>> = scores.chunks(n).map(<[f32]>::to_vec).collect();
    let groups: Vec<Vec<Episode>> = episodes.chunks(n).map(<[Episode]>::to_vec).collect();
    let sequences: Vec<Vec<Sequence>> = rows.chunks(n).map(<[Sequence]>::to_vec).collect();
    Ok((best_of(&groups, &by_prompt), kept(&sequences, &by_prompt, Selection::Best)?))
}
