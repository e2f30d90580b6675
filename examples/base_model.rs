//! Rebuilds `examples/assets/base`: trains the tokenizer and a small Llama on the task's corpus
//! of replies of every quality, so that it knows the language but not what is wanted.
//!
//! ```text
//! cargo run --release --example base_model
//! ```
use anyhow::{Context, Result, ensure};
use clap::Parser;
use hydralign::algorithms::{Epochs, nll_batch};
use hydralign::data::{TextTokenizer, encode_completion, encode_prompt};
use hydralign::kernels::retain_freed_memory;
use hydralign::models::{Architecture, ModelBank, SaveOptions, random_trunk, save_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{Decay, Progress, Steps, stop_on_ctrl_c, write_dir_atomic};
use hydralign::train::Trained;
use hydralign_examples::say;
use hydralign_examples::task::{corpus, save_tokenizer, train_tokenizer};
use hydralign_examples::{base_model_dir, device, flags};
use std::path::{Path, PathBuf};

/// Trains the base model of the shipped task.
#[derive(Parser, Debug)]
struct Args {
    /// Folder to write.
    #[arg(long, value_name = "DIR", default_value_os_t = base_model_dir())]
    out: PathBuf,
    /// Replace what is in that folder, when the new model is complete.
    #[arg(long)]
    overwrite: bool,
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
    flags::rate("--lr", args.lr)?;
    flags::counts(&[("--texts", args.texts), ("--minibatch", args.minibatch)])?;
    ensure!(
        args.overwrite || !args.out.exists(),
        "{} exists: --out DIR names another folder, --overwrite replaces it when the new model is complete",
        args.out.display()
    );
    retain_freed_memory();
    let stop = stop_on_ctrl_c()?;
    let device = device::open("flex")?;
    let trained = train_tokenizer().map_err(|e| anyhow::anyhow!(e))?;
    let scratch = tempfile::tempdir()?;
    save_tokenizer(&trained, scratch.path()).map_err(|e| anyhow::anyhow!(e))?;
    let tokenizer = TextTokenizer::from_dir(scratch.path())?;
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
    let architecture = Architecture::llama(&shape, context, tokenizer.eos_id())?;
    say!("{} parameters, vocabulary {}", shape.parameters(), shape.vocab);
    let rows = corpus(args.seed, args.texts)?
        .into_iter()
        .map(|r| {
            let prompt = encode_prompt(&tokenizer, &r.prompt, context)?;
            let response = encode_completion(&tokenizer, &r.prompt, ("completion", &r.completion))?;
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
    let learner = Learner::new(bank, &OptimizerConfig::default());
    let Args { minibatch, lr: peak, seed, .. } = args;
    let recipe = Supervised {
        objective: Nll,
        order: Epochs { items: rows.len(), minibatch, epochs: 1, seed },
        lr: Schedule { peak, decay: Decay::Cosine, warmup: 50 },
        batch: |_: &ModelBank, items: &[usize]| {
            let rows: Vec<Sequence> = items.iter().map(|&i| rows[i].clone()).collect();
            Ok(nll_batch(&rows, minibatch, &device)?)
        },
    };
    let mut progress = Progress::stderr(&["loss", "grad_norm"], 20);
    let trained_model = Trainer::new("base", &stop).train(&recipe, learner, &mut progress)?;
    progress.finish();
    let Trained { learner, progress: Steps { done, steps, .. }, ended, .. } = trained_model;
    ensure!(done > 0 || ended.is_err(), "stopped before anything was learnt; nothing is saved");
    // An unfinished model goes beside: the folder keeps the one that it has.
    let complete = ended.is_ok() && done == steps;
    let out = match complete {
        true => args.out,
        false => PathBuf::from(format!("{}-unfinished", args.out.display())),
    };
    if done > 0 {
        write_dir_atomic(&out, |dir| -> Result<()> {
            save_tokenizer(&trained, dir).map_err(|e| anyhow::anyhow!(e))?;
            save(learner.model(), dir)
        })?;
    }
    ended.with_context(|| {
        format!("after step {done} of {steps}; the weights until there: {}", out.display())
    })?;
    say!("the weights after step {done} of {steps} are written to {}", out.display());
    Ok(())
}

fn save(bank: &ModelBank, dir: &Path) -> Result<()> {
    let trained = bank.checkpoint(Role::Actor)?;
    Ok(save_checkpoint(dir, &trained.trunk, None, &SaveOptions::default())?)
}
