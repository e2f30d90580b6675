//! Direct preference optimisation, and its relatives: the reference is read once and kept on disk, then
//! one model is held.
//!
//! ```text
//! cargo run --release --example dpo
//! cargo run --release --example dpo -- --loss ipo --beta 1
//! cargo run --release --example dpo -- --model DIR --preferences FILE.jsonl --out DIR
//! cargo run --release --example dpo -- --resume DIR
//! ```
use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use hydralign::algorithms::{
    Cpo, Epochs, Hinge, Ipo, Orpo, SimPo, pair_batch, reference_logprobs, sequences_of,
    with_reference,
};
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::{Dtype, Method};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Cached, RunFolder, Schedule, stop_on_ctrl_c};
use hydralign::train::{Guards, HeldOutRows, Supervised};
use hydralign_examples::budget::longest;
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use hydralign_examples::watch::{EvalRowArgs, WatchArgs};
use serde::Serialize;

/// Learns from pairs.
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
    /// The loss of a pair.
    #[arg(long, value_enum, default_value = "dpo")]
    loss: LossName,
    /// β, or λ of ORPO [default: 0.1; simpo: 2].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
    /// The probability that a label is flipped, of dpo, simpo and cpo; below 1/2 [default: 0].
    #[arg(long, value_name = "ε")]
    #[serde(skip_serializing_if = "Option::is_none")]
    label_smoothing: Option<f64>,
    /// The unbiased form of smoothing, of dpo.
    #[arg(long, requires = "label_smoothing")]
    robust: bool,
    /// Leave the reference out, of dpo.
    #[arg(long)]
    reference_free: bool,
    /// γ/β, the margin of simpo in units of β [default: 0.5].
    #[arg(long, value_name = "RATIO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gamma_beta_ratio: Option<f64>,
    /// Weight of the likelihood of the chosen responses beside the loss [default: 0; cpo, orpo: 1].
    #[arg(long, value_name = "α")]
    #[serde(skip_serializing_if = "Option::is_none")]
    nll_weight: Option<f64>,
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

#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum LossName {
    Dpo,
    Ipo,
    Hinge,
    Simpo,
    Cpo,
    Orpo,
}

/// Pairs that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 16;

impl Args {
    /// Writes the defaults of the loss out; what it does not have stays open.
    fn fill(&mut self) {
        self.beta = Some(self.beta());
        self.nll_weight = Some(self.nll_weight());
        if self.smooths() {
            self.label_smoothing.get_or_insert(0.0);
        }
        if matches!(self.loss, LossName::Simpo) {
            self.gamma_beta_ratio.get_or_insert(SimPo::default().gamma_beta_ratio);
        }
        self.common.fill(Some(MICRO_BATCH));
    }

    fn smooths(&self) -> bool {
        matches!(self.loss, LossName::Dpo | LossName::Simpo | LossName::Cpo)
    }

    fn beta(&self) -> f64 {
        self.beta.unwrap_or(match self.loss {
            LossName::Simpo => SimPo::default().beta,
            _ => Dpo::default().beta,
        })
    }

    fn nll_weight(&self) -> f64 {
        self.nll_weight.unwrap_or(match self.loss {
            LossName::Cpo | LossName::Orpo => 1.0,
            _ => 0.0,
        })
    }

    fn check(&self) -> Result<()> {
        flags::positive("--beta", self.beta())?;
        flags::not_negative("--nll-weight", self.nll_weight())?;
        flags::not_negative("--gamma-beta-ratio", self.gamma_beta_ratio.unwrap_or(0.0))?;
        let smoothing = self.label_smoothing.unwrap_or(0.0);
        ensure!(
            (0.0..0.5).contains(&smoothing),
            "--label-smoothing must be at least 0 and below 1/2: it is {smoothing}"
        );
        self.check_effects()?;
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        self.watch.check(&self.resume)?;
        self.eval_rows.check()?;
        flags::counts(&[("--epochs", self.epochs), ("--minibatch", self.minibatch)])
    }

    /// Refuses what the loss does not have.
    fn check_effects(&self) -> Result<()> {
        let (dpo, simpo) =
            (matches!(self.loss, LossName::Dpo), matches!(self.loss, LossName::Simpo));
        let narrow = self.common.passes.frozen_dtype != Dtype::F32;
        let given = [
            ("--label-smoothing", self.label_smoothing.is_some() && !self.smooths()),
            ("--robust", self.robust && !dpo),
            ("--reference-free", self.reference_free && !dpo),
            ("--gamma-beta-ratio", self.gamma_beta_ratio.is_some() && !simpo),
            // The reference is read as the policy begins, and no other model is frozen.
            ("--frozen-dtype", narrow && self.common.nothing_frozen()),
        ];
        let loss = self.loss.to_possible_value();
        let loss = loss.as_ref().map_or("this", |value| value.get_name());
        flags::unused(&given, &format!("--loss {loss}"))
    }

    /// Says what the run would do.
    fn tell(&self, setup: &Setup) -> Result<()> {
        setup.check_place(self)?;
        let pairs: Vec<Pair> = setup.pairs()?.iter().cloned().map(Pair::from).collect();
        let (pairs, _) =
            self.watch.divide(&self.eval_rows, pairs, |pair| &pair.chosen.prompt, setup.seed)?;
        let refers = self.objective().loss.needs_reference();
        let method = if refers { Method::dpo_precomputed() } else { Method::simpo() };
        let batches = Batches {
            minibatch: self.minibatch,
            micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
            sequences: 2,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let lengths = longest(pairs.iter().flat_map(|p| [&p.chosen, &p.rejected]));
        let work = (setup.adapted(method)?, setup.workload(batches, pairs.len(), lengths));
        let Self { epochs, minibatch, .. } = *self;
        let order = Epochs { items: pairs.len(), minibatch, epochs, seed: setup.seed };
        let visits = (&order, pairs.len(), f64::from(u8::from(refers)));
        let rows = |i: usize| vec![&pairs[i].chosen, &pairs[i].rejected];
        setup.tell(Stage::on_rows(("dpo", "pairs"), work, visits, rows))
    }

    /// The loss, with the likelihood of the chosen responses where it belongs to the method.
    fn objective(&self) -> Preference<Box<dyn PairLoss>> {
        let (robust, reference_free) = (self.robust, self.reference_free);
        let label_smoothing = self.label_smoothing.unwrap_or(0.0);
        let gamma_beta_ratio = self.gamma_beta_ratio.unwrap_or(SimPo::default().gamma_beta_ratio);
        let beta = self.beta();
        let loss: Box<dyn PairLoss> = match self.loss {
            LossName::Dpo => Box::new(Dpo { beta, label_smoothing, robust, reference_free }),
            LossName::Ipo => Box::new(Ipo { beta, ..Ipo::default() }),
            LossName::Hinge => Box::new(Hinge { beta }),
            LossName::Simpo => Box::new(SimPo { beta, gamma_beta_ratio, label_smoothing }),
            LossName::Cpo => Box::new(Cpo { beta, label_smoothing }),
            LossName::Orpo => Box::new(Orpo { lambda: beta }),
        };
        Preference { loss, nll_weight: self.nll_weight(), live: false }
    }
}

fn main() -> Result<()> {
    flags::run("dpo", run)
}

fn run(mut args: Args) -> Result<()> {
    args.fill();
    args.check()?;
    retain_freed_memory();
    let mut setup = args.common.open("dpo", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    setup.pairs()?;
    if args.common.dry_run {
        return args.tell(&setup);
    }
    let folder = setup.begin(&args)?;
    let objective = args.objective();
    let (pairs, learner) =
        setup.prepare(&folder, || start(&setup, &folder, objective.loss.needs_reference()))?;
    let (pairs, held_out) = setup.prepare(&folder, || {
        args.watch.divide(&args.eval_rows, pairs, |pair| &pair.chosen.prompt, setup.seed)
    })?;
    let Args { epochs, minibatch, .. } = args;
    let micro_batch = setup.passes.micro_batch.unwrap_or(MICRO_BATCH);
    let evaluation = HeldOutRows {
        objective: args.objective(),
        batch: |_: &ModelBank| Ok(pair_batch(&held_out, micro_batch, &setup.device)?),
    };
    let recipe = Supervised {
        objective,
        order: Epochs { items: pairs.len(), minibatch, epochs, seed: setup.seed },
        lr: Schedule::linear(args.lr),
        batch: |_: &ModelBank, items: &[usize]| {
            let picked: Vec<Pair> = items.iter().map(|&i| pairs[i].clone()).collect();
            Ok(pair_batch(&picked, micro_batch, &setup.device)?)
        },
    };
    let shown = ["preference_loss", "accuracy", "margin"];
    setup.train(
        "dpo",
        (folder, &args.resume),
        &recipe,
        (learner, Learner::into_model),
        args.watch.with(&evaluation, Guards::default())?,
        (&shown, 10),
    )
}

/// What there is to learn from, and who learns.
fn start(
    setup: &Setup,
    folder: &RunFolder,
    refers: bool,
) -> Result<(Vec<Pair>, Learner<ModelBank>)> {
    let pairs = with_references(setup, refers)?;
    let bank = setup.policy_bank("dpo", false)?;
    say!("before: {}", setup.show_start(&bank, Some(folder))?);
    Ok((pairs, Learner::new(bank, &OptimizerConfig::default())))
}

/// The pairs, with the reference's log-probabilities if the loss needs them: read in one sweep, or
/// found where an earlier run with the same model and data has left them.
fn with_references(setup: &Setup, needed: bool) -> Result<Vec<Pair>> {
    let pairs: Vec<Pair> = setup.pairs()?.iter().cloned().map(Pair::from).collect();
    if !needed {
        return Ok(pairs);
    }
    let rows = sequences_of(&pairs);
    let key = setup.reference_key(&rows);
    let key = [key[0].as_str(), &key[1], &key[2]];
    let (values, found) = setup.references().get(&key, rows.len(), || {
        let frozen = setup.start()?;
        let (reading, at_once) = (Reading::Logprobs(Role::Actor), setup.passes.rows());
        anyhow::Ok(reference_logprobs(&frozen, reading, &rows, at_once)?)
    })?;
    let how = match found {
        Cached::Found => "found on disk".to_owned(),
        Cached::Kept => "read".to_owned(),
        Cached::NotKept(why) => format!("read, but not kept for other runs: {why}"),
    };
    say!("{} reference log-probabilities {how}", values.len());
    Ok(with_reference(pairs, &values)?)
}
