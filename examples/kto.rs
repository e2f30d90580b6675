//! Kahneman–Tversky optimisation: single responses that are good or bad, no pairs.
//!
//! ```text
//! cargo run --release --example kto
//! cargo run --release --example kto -- --model DIR --labels FILE.jsonl --out DIR
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Result, ensure};
use clap::Parser;
use hydralign::algorithms::{Epochs, Kto, KtoExample, kto_baseline, kto_batch, reference_logprobs};
use hydralign::data::{ChatTemplate, Reader};
use hydralign::kernels::retain_freed_memory;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Schedule, stop_on_ctrl_c};
use hydralign_examples::setup::{CommonArgs, Setup};
use std::path::PathBuf;

/// Learns from labelled responses.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Labelled responses, one {"prompt": …, "completion": …, "label": true} a line, or Parquet
    /// [default: the shipped task's pairs, taken apart].
    #[arg(long, value_name = "FILE", requires = "model")]
    labels: Option<PathBuf>,
    /// β.
    #[arg(long, default_value_t = 0.1)]
    beta: f64,
    /// Peak learning rate, falling to 0.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
    /// Passes over the responses.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Responses of an optimizer step.
    #[arg(long, default_value_t = 64)]
    minibatch: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.beta.is_finite() && args.beta > 0.0, "--beta must be above 0");
    retain_freed_memory();
    let setup = args.common.open("kto", &stop_on_ctrl_c()?)?;
    let examples = args.examples(&setup)?;
    let good = examples.iter().filter(|e| e.desirable).count();
    println!("{good} desirable responses, {} others", examples.len() - good);
    let placement = Placement::policy("kto", true, false);
    let start = Start::joint(&setup.policy);
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), setup.seed)?;
    let bank = setup.passes.carry(bank)?;
    println!("before: {}", setup.show(&bank)?);
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let Args { epochs, minibatch, .. } = args;
    let epochs = Epochs { items: examples.len(), minibatch, epochs, seed: setup.seed };
    let (kto, schedule) = (Kto { beta: args.beta, ..Kto::default() }, Schedule::linear(args.lr));
    for (step, items) in epochs.minibatches().enumerate() {
        if setup.stop.is_stopped() {
            break;
        }
        let part: Vec<KtoExample> = items.iter().map(|&i| examples[i].clone()).collect();
        if part.len() < 2 {
            continue; // the baseline compares with other prompts' responses
        }
        let baseline = kto_baseline(learner.model(), &part, setup.passes.rows())?;
        let micro_batch = setup.passes.micro_batch.unwrap_or(32);
        let batches = kto_batch(&part, baseline, micro_batch, &setup.device)?;
        let report = learner.step(&kto, &batches, schedule.lr(step + 1, epochs.steps()))?;
        if (step + 1) % 20 == 0 {
            println!("step {}: loss {:.4}, baseline {baseline:.3}", step + 1, report.loss);
        }
    }
    println!("after:  {}", setup.show(learner.model())?);
    println!("saved in {}", setup.save(learner.model())?.display());
    Ok(())
}

impl Args {
    /// The labelled responses, with the reference's log-probabilities.
    fn examples(&self, setup: &Setup) -> Result<Vec<KtoExample>> {
        let labelled: Vec<(Sequence, bool)> = match (&self.labels, &self.common.model) {
            (Some(path), Some(dir)) => {
                let context = setup.policy.trunk.architecture().context;
                let template = ChatTemplate::from_dir(dir)?;
                let reader = Reader {
                    template: template.as_ref(),
                    ..Reader::new(&setup.tokenizer, context)
                };
                let rows = reader.unpaired(&[path.display().to_string()])?.0;
                rows.into_iter().map(|row| (row.sequence, row.label)).collect()
            }
            _ => {
                let both = |(a, b): &(Sequence, Sequence)| [(a.clone(), true), (b.clone(), false)];
                setup.pairs()?.iter().flat_map(both).collect()
            }
        };
        ensure!(labelled.len() >= 2, "at least two labelled responses are needed");
        let rows: Vec<Sequence> = labelled.iter().map(|(s, _)| s.clone()).collect();
        let frozen = ModelBank::frozen(setup.policy.clone());
        let frozen = setup.passes.carry(frozen)?;
        let reading = Reading::Logprobs(Role::Actor);
        let references = reference_logprobs(&frozen, reading, &rows, setup.passes.rows())?;
        let example =
            |((sequence, desirable), reference)| KtoExample { sequence, desirable, reference };
        Ok(labelled.into_iter().zip(references).map(example).collect())
    }
}
