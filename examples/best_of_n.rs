//! Best-of-N: as sampling, and as training on what was best (RAFT).
//!
//! ```text
//! cargo run --release --example best_of_n
//! cargo run --release --example best_of_n -- --n 16 --train
//! cargo run --release --example best_of_n -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Result, ensure};
use clap::Parser;
use hydralign::advantage::{Selection, best_of_n_kl};
use hydralign::algorithms::{best_of, kept, weighted_batch};
use hydralign::kernels::retain_freed_memory;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::stop_on_ctrl_c;
use hydralign_examples::setup::{CommonArgs, Setup};

/// Samples N responses and takes the best.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 8)]
    n: usize,
    /// Learn from the best of the training prompts' responses, and save the policy.
    #[arg(long)]
    train: bool,
    /// Training prompts.
    #[arg(long, default_value_t = 512)]
    train_prompts: usize,
    /// Learning rate.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.n > 0, "--n must be at least 1");
    retain_freed_memory();
    let setup = args.common.open("best_of_n", &stop_on_ctrl_c()?)?;
    setup.reward()?;
    let policy = ModelBank::frozen(setup.policy.clone());
    println!("one sample:  {}", setup.show(&policy)?);
    let (best, _) = best_responses(&setup, &policy, &setup.held_out, args.n)?;
    let kl = best_of_n_kl(args.n);
    println!("best of {}:   {}, KL at most {kl:.2} nats", args.n, setup.describe(&best)?);
    if !args.train {
        return Ok(());
    }
    let prompts = setup.prompts_of(0, args.train_prompts)?;
    let (_, rows) = best_responses(&setup, &policy, &prompts, args.n)?;
    drop(policy);
    let placement = Placement::policy("raft", false, false);
    let start = Start::joint(&setup.policy);
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), 0)?;
    let bank = setup.passes.carry(bank)?;
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    for part in rows.chunks(32) {
        let micro_batch = setup.passes.micro_batch.unwrap_or(32);
        learner.step(&Nll, &weighted_batch(part, micro_batch, &setup.device)?, args.lr)?;
    }
    println!("trained on {}: {}", rows.len(), setup.show(learner.model())?);
    println!("saved in {}", setup.save(learner.model())?.display());
    Ok(())
}

/// The best response to each prompt, and the same as rows to learn from.
fn best_responses(
    setup: &Setup,
    policy: &ModelBank,
    prompts: &[Vec<u32>],
    n: usize,
) -> Result<(Vec<Episode>, Vec<hydralign::algorithms::WeightedSequence>)> {
    let episodes = setup.sample(policy, prompts, n, 0)?;
    let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
    let scores = setup.scores(&rows)?;
    let by_prompt: Vec<Vec<f32>> = scores.chunks(n).map(<[f32]>::to_vec).collect();
    let groups: Vec<Vec<Episode>> = episodes.chunks(n).map(<[Episode]>::to_vec).collect();
    let sequences: Vec<Vec<Sequence>> = rows.chunks(n).map(<[Sequence]>::to_vec).collect();
    Ok((best_of(&groups, &by_prompt), kept(&sequences, &by_prompt, Selection::Best)?))
}
