//! Kahneman–Tversky optimisation: single responses that are good or bad, no pairs.
//!
//! ```text
//! cargo run --release --example kto
//! cargo run --release --example kto -- --model DIR --labels FILE.jsonl --out DIR
//! cargo run --release --example kto -- --resume DIR
//! ```
use anyhow::{Context, Result, ensure};
use clap::Parser;
use hydralign::algorithms::{
    ComparedEpochs, Epochs, Kto, KtoExample, kto_baseline, kto_batch, reference_logprobs,
};
use hydralign::data::{ChatTemplate, Reader};
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Method;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{RunFolder, Schedule, stop_on_ctrl_c};
use hydralign::train::{Guards, HeldOutRows, Supervised};
use hydralign_examples::budget::longest;
use hydralign_examples::data::input;
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use hydralign_examples::watch::{EvalRowArgs, WatchArgs};
use hydralign_examples::{flags, note};
use serde::Serialize;
use std::path::PathBuf;

/// Learns from labelled responses.
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
    /// Labelled responses, one {"prompt": …, "completion": …, "label": true} a line, or Parquet
    /// [default: the shipped task's pairs, taken apart].
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with = "preferences")]
    #[serde(skip)]
    labels: Option<PathBuf>,
    /// β.
    #[arg(long, default_value_t = 0.1)]
    beta: f64,
    /// λ_D, the weight of desirable responses.
    #[arg(long, default_value_t = 1.0)]
    desirable_weight: f64,
    /// λ_U, the weight of the others.
    #[arg(long, default_value_t = 1.0)]
    undesirable_weight: f64,
    /// Peak learning rate, falling to 0.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
    /// Passes over the responses.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Responses of an optimizer step, at least 2: they are compared with each other. A single one that is
    /// left over joins the step before.
    #[arg(long, default_value_t = 64)]
    minibatch: usize,
}

/// Rows that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 32;

fn main() -> Result<()> {
    flags::run("kto", run)
}

fn run(mut args: Args) -> Result<()> {
    args.common.fill(Some(MICRO_BATCH));
    args.check()?;
    retain_freed_memory();
    let mut setup = args.common.open("kto", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    if let Some(path) = &args.labels {
        setup.inputs.insert("labels".into(), input(&path.display().to_string())?);
    }
    let labelled = args.labelled(&mut setup)?;
    let (labelled, held_out) =
        args.watch.divide(&args.eval_rows, labelled, |row| &row.0.prompt, setup.seed)?;
    ensure!(held_out.len() != 1, "one held-out response has no other to be compared with");
    let Args { epochs, minibatch, .. } = args;
    let epochs = Epochs { items: labelled.len(), minibatch, epochs, seed: setup.seed };
    let order = ComparedEpochs::new(epochs).context("--minibatch")?;
    if args.common.dry_run {
        return args.tell(&setup, &order, &labelled);
    }
    let folder = setup.begin(&args)?;
    let (examples, held_out, learner) = setup.prepare(&folder, || {
        let examples = with_references(&setup, labelled)?;
        args.tell_balance(&examples);
        Ok((examples, with_references(&setup, held_out)?, start(&setup, &folder)?))
    })?;
    let context = learner.model().context();
    let micro_batch = setup.passes.micro_batch.unwrap_or(MICRO_BATCH);
    let batch = |model: &ModelBank, part: &[KtoExample]| {
        let baseline = kto_baseline(model, part, context, setup.passes.rows())?;
        Ok(kto_batch(part, baseline, micro_batch, &setup.device)?)
    };
    let evaluation =
        HeldOutRows { objective: args.kto(), batch: |model: &ModelBank| batch(model, &held_out) };
    let recipe = Supervised {
        objective: args.kto(),
        order,
        lr: Schedule::linear(args.lr),
        batch: |model: &ModelBank, items: &[usize]| {
            let part: Vec<KtoExample> = items.iter().map(|&i| examples[i].clone()).collect();
            batch(model, &part)
        },
    };
    let shown = ["kto_loss", "desirable_reward", "undesirable_reward"];
    setup.train(
        "kto",
        (folder, &args.resume),
        &recipe,
        (learner, Learner::into_model),
        args.watch.with(&evaluation, Guards::default())?,
        (&shown, 10),
    )
}

/// Who learns, beside the reference.
fn start(setup: &Setup, folder: &RunFolder) -> Result<Learner<ModelBank>> {
    let bank = setup.policy_bank("kto", true)?;
    say!("before: {}", setup.show_start(&bank, Some(folder))?);
    Ok(Learner::new(bank, &OptimizerConfig::default()))
}

impl Args {
    fn check(&self) -> Result<()> {
        self.kto().validate()?;
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        self.watch.check(&self.resume)?;
        self.eval_rows.check()?;
        flags::counts(&[("--epochs", self.epochs)])
    }

    /// Says what the run would do.
    fn tell(
        &self,
        setup: &Setup,
        order: &ComparedEpochs,
        labelled: &[(Sequence, bool)],
    ) -> Result<()> {
        setup.check_place(self)?;
        let batches = Batches {
            minibatch: self.minibatch,
            micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
            sequences: 1,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let count = labelled.len();
        let lengths = longest(labelled.iter().map(|(row, _)| row));
        let work = (setup.adapted(Method::kto())?, setup.workload(batches, count, lengths));
        // The baseline reads policy and reference; before, the reference reads all rows once.
        let visits = (order, count, self.epochs as f64 + 0.5);
        let rows = |i: usize| vec![&labelled[i].0];
        setup.tell(Stage::on_rows(("kto", "rows"), work, visits, rows))
    }

    fn kto(&self) -> Kto {
        let Self { beta, desirable_weight, undesirable_weight, .. } = *self;
        Kto { beta, desirable_weight, undesirable_weight }
    }

    /// Says how the labels are balanced, and what is known to go wrong.
    fn tell_balance(&self, examples: &[KtoExample]) {
        let balance = self.kto().balance(examples.iter().map(|e| e.desirable));
        let (good, bad) = (balance.desirable, balance.undesirable);
        say!("{good} desirable responses, {bad} others");
        if good == 0 || bad == 0 {
            note("all responses have the same label: KTO learns from the difference of the two");
        } else if !balance.is_advised() {
            let weight = self.undesirable_weight * bad as f64 / good as f64;
            note(&format!(
                "the desirable responses weigh {:.2} times the others, and the authors advise 1 to 1.33: --desirable-weight {weight:.3} makes it 1",
                balance.ratio
            ));
        }
    }

    /// The labelled responses.
    fn labelled(&self, setup: &mut Setup) -> Result<Vec<(Sequence, bool)>> {
        let labelled: Vec<(Sequence, bool)> = match (&self.labels, &self.common.model) {
            (Some(path), Some(dir)) => {
                let context = setup.policy.trunk.architecture().context;
                let template = ChatTemplate::from_dir(dir)?;
                let reader = self.common.rows.apply(Reader {
                    template: template.as_ref(),
                    ..Reader::new(&setup.tokenizer, context)
                });
                let path = path.display().to_string();
                let rows = setup.rows.told(
                    "labels",
                    &path,
                    &self.common.rows,
                    reader.unpaired(&[&path]),
                )?;
                let what = "labelled responses";
                let rows = setup.data.without(what, rows, |row| &row.sequence.prompt)?;
                setup.data.say();
                rows.into_iter().map(|row| (row.sequence, row.label)).collect()
            }
            _ => {
                let both = |(a, b): &(Sequence, Sequence)| [(a.clone(), true), (b.clone(), false)];
                setup.pairs()?.iter().flat_map(both).collect()
            }
        };
        ensure!(labelled.len() >= 2, "at least two labelled responses are needed");
        Ok(labelled)
    }
}

/// Adds the reference's log-probabilities.
fn with_references(setup: &Setup, labelled: Vec<(Sequence, bool)>) -> Result<Vec<KtoExample>> {
    let rows: Vec<Sequence> = labelled.iter().map(|(s, _)| s.clone()).collect();
    let frozen = setup.start()?;
    let reading = Reading::Logprobs(Role::Actor);
    let references = reference_logprobs(&frozen, reading, &rows, setup.passes.rows())?;
    let example =
        |((sequence, desirable), reference)| KtoExample { sequence, desirable, reference };
    Ok(labelled.into_iter().zip(references).map(example).collect())
}
