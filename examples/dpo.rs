//! Direct preference optimisation, and its relatives: the reference is read once and kept on disk, then
//! one model is held.
//!
//! ```text
//! cargo run --release --example dpo
//! cargo run --release --example dpo -- --loss ipo --beta 1
//! cargo run --release --example dpo -- --model DIR --preferences FILE.jsonl --out DIR
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use hydralign::algorithms::{
    Cpo, Epochs, Hinge, Ipo, Orpo, SimPo, pair_batch, reference_logprobs, sequences_fingerprint,
    sequences_of, train_minibatches, with_reference,
};
use hydralign::kernels::retain_freed_memory;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{NumberCache, Progress, Schedule, stop_on_ctrl_c};
use hydralign_examples::setup::{CommonArgs, Setup};

/// Learns from pairs.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The loss of a pair.
    #[arg(long, value_enum, default_value = "dpo")]
    loss: LossName,
    /// β, or λ of ORPO.
    #[arg(long, default_value_t = 0.1)]
    beta: f64,
    /// Peak learning rate, falling to 0.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
    /// Passes over the pairs.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Pairs of an optimizer step.
    #[arg(long, default_value_t = 32)]
    minibatch: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    Dpo,
    Ipo,
    Hinge,
    Simpo,
    Cpo,
    Orpo,
}

impl Args {
    /// The loss, with the likelihood of the chosen responses where it belongs to the method.
    fn objective(&self) -> Preference<Box<dyn PairLoss>> {
        let beta = self.beta;
        let (loss, nll_weight): (Box<dyn PairLoss>, f64) = match self.loss {
            LossName::Dpo => (Box::new(Dpo { beta, ..Dpo::default() }), 0.0),
            LossName::Ipo => (Box::new(Ipo { beta, ..Ipo::default() }), 0.0),
            LossName::Hinge => (Box::new(Hinge { beta }), 0.0),
            LossName::Simpo => (Box::new(SimPo { beta, ..SimPo::default() }), 0.0),
            LossName::Cpo => (Box::new(Cpo { beta, ..Cpo::default() }), 1.0),
            LossName::Orpo => (Box::new(Orpo { lambda: beta }), 1.0),
        };
        Preference { loss, nll_weight, live: false }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.beta.is_finite() && args.beta > 0.0, "--beta must be above 0");
    retain_freed_memory();
    let setup = args.common.open("dpo", &stop_on_ctrl_c()?)?;
    let objective = args.objective();
    let pairs = with_references(&setup, objective.loss.needs_reference())?;

    let placement = Placement::policy("dpo", false, false);
    let start = Start::joint(&setup.policy);
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), setup.seed)?;
    let bank = setup.passes.carry(bank)?;
    println!("before: {}", setup.show(&bank)?);
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let Args { epochs, minibatch, .. } = args;
    let epochs = Epochs { items: pairs.len(), minibatch, epochs, seed: setup.seed };
    let schedule = Schedule::linear(args.lr);
    let mut progress = Progress::stderr(&["preference_loss", "accuracy", "margin"], 10);
    train_minibatches(
        &mut learner,
        &objective,
        &epochs,
        |step| schedule.lr(step, epochs.steps()),
        |items| {
            let picked: Vec<Pair> = items.iter().map(|&i| pairs[i].clone()).collect();
            pair_batch(&picked, setup.passes.micro_batch.unwrap_or(16), &setup.device)
        },
        |step, report| {
            let values = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
            let (stage, steps) = ("dpo".to_owned(), epochs.steps());
            progress.stats(&Stats { stage, step, steps, values });
            !setup.stop.is_stopped()
        },
    )?;
    progress.finish();
    println!("after:  {}", setup.show(learner.model())?);
    println!("saved in {}", setup.save(learner.model())?.display());
    Ok(())
}

/// The pairs, with the reference's log-probabilities if the loss needs them: read in one sweep, or
/// found where an earlier run with the same model and data has left them.
fn with_references(setup: &Setup, needed: bool) -> Result<Vec<Pair>> {
    let pair = |(chosen, rejected): &(Sequence, Sequence)| Pair {
        chosen: chosen.clone(),
        rejected: rejected.clone(),
        reference: None,
    };
    let pairs: Vec<Pair> = setup.pairs()?.iter().map(pair).collect();
    if !needed {
        return Ok(pairs);
    }
    let rows = sequences_of(&pairs);
    let key = [setup.policy.fingerprint(), sequences_fingerprint(&rows)];
    let cache = NumberCache::new("runs/references");
    let (values, found) = cache.get(&[&key[0], &key[1]], rows.len(), || {
        let frozen = ModelBank::frozen(setup.policy.clone());
        let frozen = setup.passes.carry(frozen)?;
        let (reading, at_once) = (Reading::Logprobs(Role::Actor), setup.passes.rows());
        anyhow::Ok(reference_logprobs(&frozen, reading, &rows, at_once)?)
    })?;
    let how = if found { "found on disk" } else { "read" };
    println!("{} reference log-probabilities {how}", values.len());
    Ok(with_reference(pairs, &values)?)
}
