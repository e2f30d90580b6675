//! Supervised fine-tuning on your own demonstrations.
//!
//! ```text
//! cargo run --release --example sft -- --model DIR --demonstrations FILE.jsonl --out DIR
//! cargo run --release --example sft -- --model DIR --demonstrations FILE.jsonl --lora-rank 16 --eval-every 50 --best-metric nll
//! cargo run --release --example sft -- --resume DIR
//! ```
use anyhow::{Context, Result, ensure};
use clap::Parser;
use hydralign::algorithms::{Epochs, nll_batch};
use hydralign::data::{ChatTemplate, Reader};
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Method;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::stop_on_ctrl_c;
use hydralign::train::Guards;
use hydralign_examples::budget::longest;
use hydralign_examples::data::input;
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use hydralign_examples::watch::{EvalRowArgs, WatchArgs};
use serde::Serialize;
use std::path::PathBuf;

/// Learns from demonstrations.
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
    eval_rows: EvalRowArgs,
    /// Demonstrations, one {"prompt": …, "completion": …} or {"messages": […]} a line, or Parquet.
    #[arg(long, value_name = "FILE", requires = "model")]
    #[serde(skip)]
    demonstrations: Option<PathBuf>,
    /// Peak learning rate, falling to 0.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
    /// Passes over the demonstrations.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Demonstrations of an optimizer step.
    #[arg(long, default_value_t = 32)]
    minibatch: usize,
}

/// Rows that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 32;

fn main() -> Result<()> {
    flags::run("sft", run)
}

fn run(mut args: Args) -> Result<()> {
    args.check()?;
    args.common.fill(Some(MICRO_BATCH));
    retain_freed_memory();
    let mut setup = args.common.open("sft", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    let rows = args.demonstrations(&mut setup)?;
    let (rows, held_out) =
        args.watch.divide(&args.eval_rows, rows, |row| &row.prompt, setup.seed)?;
    if args.common.dry_run {
        return args.tell(&setup, &rows);
    }
    let folder = setup.begin(&args)?;
    let learner = setup.prepare(&folder, || {
        let bank = setup.policy_bank("sft", false)?;
        say!("before: {}", setup.show_start(&bank, Some(&folder))?);
        Ok(Learner::new(bank, &OptimizerConfig::default()))
    })?;
    let micro_batch = setup.passes.micro_batch.unwrap_or(MICRO_BATCH);
    let batch = |rows: &[Sequence]| Ok(nll_batch(rows, micro_batch, &setup.device)?);
    let evaluation = HeldOutRows { objective: Nll, batch: |_: &ModelBank| batch(&held_out) };
    let recipe = Supervised {
        objective: Nll,
        order: args.order(rows.len()),
        lr: Schedule::linear(args.lr),
        batch: |_: &ModelBank, items: &[usize]| {
            batch(&items.iter().map(|&i| rows[i].clone()).collect::<Vec<_>>())
        },
    };
    let watch = args.watch.with(&evaluation, Guards::default())?;
    let (run, learner) = ((folder, &args.resume), (learner, Learner::into_model));
    setup.train("sft", run, &recipe, learner, watch, (&["nll", "lr"], 10))
}

impl Args {
    fn order(&self, items: usize) -> Epochs {
        let Self { epochs, minibatch, .. } = *self;
        Epochs { items, minibatch, epochs, seed: self.common.seed }
    }

    /// Says what the run would do.
    fn tell(&self, setup: &Setup, rows: &[Sequence]) -> Result<()> {
        setup.check_place(self)?;
        let batches = Batches {
            minibatch: self.minibatch,
            micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
            sequences: 1,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let lengths = longest(rows.iter());
        let workload = setup.workload(batches, rows.len(), lengths);
        let work = (setup.adapted(Method::sft())?, workload);
        let visits = (&self.order(rows.len()), rows.len(), 0.0);
        setup.tell(Stage::on_rows(("sft", "rows"), work, visits, |i| vec![&rows[i]]))
    }

    fn check(&self) -> Result<()> {
        let given = [("--preferences", self.common.preferences.is_some())];
        flags::unused(&given, "sft, which learns from demonstrations")?;
        ensure!(
            self.demonstrations.is_some(),
            "--model DIR and --demonstrations FILE are needed; hydra_rlhf fine-tunes on the shipped task"
        );
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        self.watch.check(&self.resume)?;
        self.eval_rows.check()?;
        flags::counts(&[("--epochs", self.epochs), ("--minibatch", self.minibatch)])
    }

    fn demonstrations(&self, setup: &mut Setup) -> Result<Vec<Sequence>> {
        let (path, dir) =
            self.demonstrations.as_ref().zip(self.common.model.as_ref()).context("--model")?;
        let path = path.display().to_string();
        setup.inputs.insert("demonstrations".into(), input(&path)?);
        let template = ChatTemplate::from_dir(dir)?;
        let reader = Reader::new(&setup.tokenizer, setup.policy.trunk.architecture().context);
        let reader = self.common.rows.apply(Reader { template: template.as_ref(), ..reader });
        let read = reader.demonstrations(&[&path]);
        let rows = setup.rows.told("demonstrations", &path, &self.common.rows, read)?;
        setup.data.without("demonstrations", rows, |row| &row.prompt)
    }
}
