//! A reward model from pairs: a sequence-classification model for `--reward` of the other programs.
//!
//! ```text
//! cargo run --release --example reward_model
//! cargo run --release --example reward_model -- --model DIR --preferences FILE.jsonl --out DIR
//! cargo run --release --example reward_model -- --model DIR --preferences FILE.jsonl --lora-rank 16 --eval-every 50 --best-metric ranking_accuracy
//! cargo run --release --example reward_model -- --resume DIR
//! ```
use anyhow::Result;
use clap::Parser;
use hydralign::algorithms::{Epochs, Pairwise, PairwiseConfig, ranking_batch};
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Method;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::stop_on_ctrl_c;
use hydralign::train::Guards;
use hydralign_examples::budget::longest;
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::setup::{CommonArgs, Setup};
use hydralign_examples::watch::{EvalRowArgs, WatchArgs};
use serde::Serialize;

/// Learns which of two responses is better.
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
    /// c of the centring term c·(r_w + r_l)², which draws the scores towards 0.
    #[arg(long, default_value_t = 0.0)]
    center_rewards_coef: f64,
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

/// Pairs that are differentiated at a time, unless a flag says otherwise.
const MICRO_BATCH: usize = 16;

fn main() -> Result<()> {
    flags::run("reward_model", run)
}

fn run(mut args: Args) -> Result<()> {
    args.check()?;
    args.common.fill(Some(MICRO_BATCH));
    (args.common.passes.generate_batch, args.common.passes.score_batch) = (None, None);
    retain_freed_memory();
    let mut setup = args.common.open("reward_model", &stop_on_ctrl_c()?)?;
    setup.learns = Role::Reward;
    args.resume.find(&mut setup.place);
    let pairs = setup.pairs()?.to_vec();
    let (pairs, held_out) =
        args.watch.divide(&args.eval_rows, pairs, |pair| &pair.0.prompt, setup.seed)?;
    if args.common.dry_run {
        return args.tell(&setup, &pairs);
    }
    let folder = setup.begin(&args)?;
    let learner = setup
        .prepare(&folder, || Ok(Learner::new(setup.reward_bank()?, &OptimizerConfig::default())))?;
    let micro_batch = setup.passes.micro_batch.unwrap_or(MICRO_BATCH);
    let batch =
        |pairs: &[(Sequence, Sequence)]| Ok(ranking_batch(pairs, micro_batch, &setup.device)?);
    let objective = args.objective();
    let evaluation = HeldOutRows { objective, batch: |_: &ModelBank| batch(&held_out) };
    let recipe = Supervised {
        objective,
        order: args.order(pairs.len()),
        lr: Schedule::linear(args.lr),
        batch: |_: &ModelBank, items: &[usize]| {
            batch(&items.iter().map(|&i| pairs[i].clone()).collect::<Vec<_>>())
        },
    };
    let watch = args.watch.with(&evaluation, Guards::default())?;
    let (run, learner) = ((folder, &args.resume), (learner, Learner::into_model));
    let shown = ["ranking_loss", "ranking_accuracy"];
    setup.train("reward_model", run, &recipe, learner, watch, (&shown, 10))
}

impl Args {
    fn order(&self, items: usize) -> Epochs {
        let Self { epochs, minibatch, .. } = *self;
        Epochs { items, minibatch, epochs, seed: self.common.seed }
    }

    /// Says what the run would do.
    fn tell(&self, setup: &Setup, pairs: &[(Sequence, Sequence)]) -> Result<()> {
        setup.check_place(self)?;
        let batches = Batches {
            minibatch: self.minibatch,
            micro_batch: setup.passes.micro_batch.unwrap_or(MICRO_BATCH),
            sequences: 2,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let lengths = longest(pairs.iter().flat_map(|(chosen, rejected)| [chosen, rejected]));
        let workload = setup.workload(batches, pairs.len(), lengths);
        let work = (setup.adapted(Method::reward_model())?, workload);
        let visits = (&self.order(pairs.len()), pairs.len(), 0.0);
        setup.tell(Stage::on_rows(("reward_model", "pairs"), work, visits, |i| {
            vec![&pairs[i].0, &pairs[i].1]
        }))
    }

    fn check(&self) -> Result<()> {
        let common = &self.common;
        let given = [
            ("--reward", common.reward.is_some()),
            ("--prompts", common.prompts.is_some()),
            ("--generate-batch", common.passes.generate_batch.is_some()),
            ("--score-batch", common.passes.score_batch.is_some()),
            ("--logprob-chunk", common.passes.logprob_chunk.is_some()),
        ];
        flags::unused(&given, "reward_model, which reads pairs and samples nothing")?;
        flags::not_negative("--center-rewards-coef", self.center_rewards_coef)?;
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        self.watch.check(&self.resume)?;
        self.eval_rows.check()?;
        flags::counts(&[("--epochs", self.epochs), ("--minibatch", self.minibatch)])
    }

    fn objective(&self) -> Pairwise {
        let centring = self.center_rewards_coef;
        Pairwise { config: PairwiseConfig { centring } }
    }
}
