//! Direct preference optimisation, and its relatives: the reference is read once and kept on disk, then
//! one model is held.
//!
//! ```text
//! cargo run --release --example dpo
//! cargo run --release --example dpo -- --loss ipo --beta 1
//! cargo run --release --example dpo -- --model DIR --preferences FILE.jsonl --out DIR
//! ```
use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use hydralign::algorithms::{
    Cpo, Epochs, Hinge, Ipo, Order as _, Orpo, SimPo, pair_batch, reference_logprobs, sequences_of,
    train_minibatches, with_reference,
};
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Dtype;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Cached, NumberCache, Progress, Schedule, Steps, stop_on_ctrl_c};
use hydralign_examples::flags;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use serde::Serialize;

/// Learns from pairs.
#[derive(Parser, Debug, Serialize)]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
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

impl Args {
    fn check(&self) -> Result<()> {
        flags::positive("--beta", self.beta.unwrap_or(1.0))?;
        flags::not_negative("--nll-weight", self.nll_weight.unwrap_or(0.0))?;
        flags::not_negative("--gamma-beta-ratio", self.gamma_beta_ratio.unwrap_or(0.0))?;
        let smoothing = self.label_smoothing.unwrap_or(0.0);
        ensure!(
            (0.0..0.5).contains(&smoothing),
            "--label-smoothing must be at least 0 and below 1/2: it is {smoothing}"
        );
        self.check_effects()?;
        flags::rate("--lr", self.lr)?;
        flags::counts(&[("--epochs", self.epochs), ("--minibatch", self.minibatch)])
    }

    /// Refuses what the loss does not have.
    fn check_effects(&self) -> Result<()> {
        use LossName::{Cpo, Dpo, Simpo};
        let smooths = matches!(self.loss, Dpo | Simpo | Cpo);
        let (dpo, simpo) = (matches!(self.loss, Dpo), matches!(self.loss, Simpo));
        let refers = self.objective().loss.needs_reference();
        let narrow = self.common.passes.frozen_dtype != Dtype::F32;
        let given = [
            ("--label-smoothing", self.label_smoothing.is_some() && !smooths),
            ("--robust", self.robust && !dpo),
            ("--reference-free", self.reference_free && !dpo),
            ("--gamma-beta-ratio", self.gamma_beta_ratio.is_some() && !simpo),
            // Without a reference no model is frozen.
            ("--frozen-dtype", narrow && !refers && self.common.reward.is_none()),
        ];
        let loss = self.loss.to_possible_value();
        let loss = loss.as_ref().map_or("this", |value| value.get_name());
        flags::unused(&given, &format!("--loss {loss}"))
    }

    /// The loss, with the likelihood of the chosen responses where it belongs to the method.
    fn objective(&self) -> Preference<Box<dyn PairLoss>> {
        let (robust, reference_free) = (self.robust, self.reference_free);
        let label_smoothing = self.label_smoothing.unwrap_or(0.0);
        let gamma_beta_ratio = self.gamma_beta_ratio.unwrap_or(SimPo::default().gamma_beta_ratio);
        let own = match self.loss {
            LossName::Simpo => SimPo::default().beta,
            _ => Dpo::default().beta,
        };
        let beta = self.beta.unwrap_or(own);
        let (loss, nll_weight): (Box<dyn PairLoss>, f64) = match self.loss {
            LossName::Dpo => (Box::new(Dpo { beta, label_smoothing, robust, reference_free }), 0.0),
            LossName::Ipo => (Box::new(Ipo { beta, ..Ipo::default() }), 0.0),
            LossName::Hinge => (Box::new(Hinge { beta }), 0.0),
            LossName::Simpo => (Box::new(SimPo { beta, gamma_beta_ratio, label_smoothing }), 0.0),
            LossName::Cpo => (Box::new(Cpo { beta, label_smoothing }), 1.0),
            LossName::Orpo => (Box::new(Orpo { lambda: beta }), 1.0),
        };
        Preference { loss, nll_weight: self.nll_weight.unwrap_or(nll_weight), live: false }
    }
}

fn main() -> Result<()> {
    let args: Args = flags::parse()?;
    args.check()?;
    retain_freed_memory();
    let setup = args.common.open("dpo", &stop_on_ctrl_c()?)?;
    setup.pairs()?;
    let folder = setup.begin(&args)?;
    let objective = args.objective();
    let pairs = with_references(&setup, objective.loss.needs_reference())?;

    let placement = Placement::policy("dpo", false, false);
    let start = Start::joint(&setup.policy);
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), setup.seed)?;
    let bank = setup.passes.carry(bank)?;
    say!("before: {}", setup.show_start(&bank)?);
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let Args { epochs, minibatch, .. } = args;
    let epochs = Epochs { items: pairs.len(), minibatch, epochs, seed: setup.seed };
    let schedule = Schedule::linear(args.lr);
    let mut progress = Progress::stderr(&["preference_loss", "accuracy", "margin"], 10);
    let mut done = 0;
    let ended = train_minibatches(
        &mut learner,
        &objective,
        &epochs,
        |step| schedule.lr(step, epochs.steps()),
        |items| {
            let picked: Vec<Pair> = items.iter().map(|&i| pairs[i].clone()).collect();
            pair_batch(&picked, setup.passes.micro_batch.unwrap_or(16), &setup.device)
        },
        |step, report| {
            done = step;
            let values = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
            let (stage, steps) = ("dpo".to_owned(), epochs.steps());
            progress.stats(&Stats { stage, step, steps, values });
            !setup.stop.is_stopped()
        },
    );
    progress.finish();
    let progress = Steps { done, steps: epochs.steps(), begun: false };
    setup.finish(folder, learner.model(), progress, ended.map_err(Into::into))
}

/// The pairs, with the reference's log-probabilities if the loss needs them: read in one sweep, or
/// found where an earlier run with the same model, data and number format has left them.
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
    let key = setup.reference_key(&rows);
    let key = [key[0].as_str(), &key[1], &key[2]];
    let cache = NumberCache::new("runs/references");
    let (values, found) = cache.get(&key, rows.len(), || {
        let frozen = ModelBank::frozen(setup.policy.clone());
        let frozen = setup.passes.carry(frozen)?;
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
