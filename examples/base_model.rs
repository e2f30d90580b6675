//! Rebuilds `examples/assets/base`: trains the tokenizer and a small Llama on the task's corpus
//! of replies of every quality, so that it knows the language but not what is wanted.
//!
//! ```text
//! cargo run --release --example base_model
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::Result;
use clap::Parser;
use hydralign::algorithms::{Epochs, nll_batch, train_minibatches};
use hydralign::data::{TextTokenizer, encode_completion, encode_prompt};
use hydralign::kernels::retain_freed_memory;
use hydralign::models::{Architecture, ModelBank, SaveOptions, random_trunk, save_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{Decay, Progress, Schedule};
use hydralign_examples::task::{corpus, save_tokenizer, train_tokenizer};
use hydralign_examples::{base_model_dir, device};
use std::path::PathBuf;

/// Trains the base model of the shipped task.
#[derive(Parser, Debug)]
struct Args {
    /// Folder to write.
    #[arg(long, value_name = "DIR", default_value_os_t = base_model_dir())]
    out: PathBuf,
    /// Texts of the corpus.
    #[arg(long, default_value_t = 64_000)]
    texts: usize,
    /// Texts per optimizer step.
    #[arg(long, default_value_t = 32)]
    minibatch: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Seed of weights and corpus.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    retain_freed_memory();
    let device = device::open("flex")?;
    let tokenizer = train_tokenizer().map_err(|e| anyhow::anyhow!(e))?;
    save_tokenizer(&tokenizer, &args.out).map_err(|e| anyhow::anyhow!(e))?;
    let tokenizer = TextTokenizer::from_dir(&args.out)?;
    let shape = ModelShape {
        vocab: tokenizer.vocab_size(),
        hidden: 128,
        intermediate: 344,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        tied: true,
        parts: Parts::default(),
    };
    let context = 64;
    let architecture = Architecture::llama(&shape, context, tokenizer.eos_ids()[0])?;
    println!("{} parameters, vocabulary {}", shape.parameters(), shape.vocab);
    let rows = corpus(args.seed, args.texts)?
        .into_iter()
        .map(|r| {
            let prompt = encode_prompt(&tokenizer, &r.prompt, context)?;
            let response = encode_completion(&tokenizer, "completion", &r.completion)?;
            // The base model learns prompts too: only the first token is given.
            let (first, rest) = prompt.split_at(1);
            Ok(Sequence::new(first.to_vec(), [rest, &response].concat()))
        })
        .collect::<Result<Vec<_>>>()?;
    let checkpoint = Checkpoint {
        trunk: random_trunk(&architecture, false, args.seed, &device),
        adapter: None,
        reward_head: None,
    };
    let placement = Placement::sft();
    let bank = ModelBank::new(&placement, &Start::joint(&checkpoint), &LoraShape::default(), 0)?;
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let epochs =
        Epochs { items: rows.len(), minibatch: args.minibatch, epochs: 1, seed: args.seed };
    let (steps, schedule) =
        (epochs.steps(), Schedule { peak: args.lr, decay: Decay::Cosine, warmup: 50 });
    let mut progress = Progress::stderr(&["nll", "grad_norm"], 20);
    train_minibatches(
        &mut learner,
        &Nll,
        &epochs,
        |step| schedule.lr(step, steps),
        |items| {
            let rows: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            nll_batch(&rows, args.minibatch, &device)
        },
        |step, report| {
            let values =
                vec![("nll".to_owned(), report.loss), ("grad_norm".to_owned(), report.grad_norm)];
            progress.stats(&Stats { stage: "base".into(), step, steps, values });
            true
        },
    )?;
    progress.finish();
    let trained = learner.model().checkpoint(Role::Actor)?;
    save_checkpoint(&args.out, &trained.trunk, None, &SaveOptions::default())?;
    println!("written to {}", args.out.display());
    Ok(())
}
