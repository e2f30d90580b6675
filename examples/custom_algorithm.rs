//! A method of one's own in a page: the loss is written here, everything else comes from the crates.
//!
//! The method: pairs that differ in length are common, so learn from the log-ratio *per token*, and trust a
//! pair the less, the closer the reward model scores its two responses.
//!
//! ```text
//! cargo run --release --example custom_algorithm
//! ```
use anyhow::Result;
use clap::Parser;
use hydralign::algorithms::{
    Epochs, Side, pair_batch, reference_logprobs, sequences_of, with_reference,
};
use hydralign::burn::tensor::activation::log_sigmoid;
use hydralign::burn::tensor::{Tensor, TensorData};
use hydralign::memory::Method;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{RunFolder, stop_on_ctrl_c};
use hydralign_examples::budget::longest;
use hydralign_examples::dry_run::{Batches, Stage};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use hydralign_examples::watch::Watch;
use serde::Serialize;

/// ℓ = −log σ( β·[ρ(y_w)/|y_w| − ρ(y_l)/|y_l|] ),  ρ = log π − log π_ref
struct PerToken {
    beta: f64,
}

impl PairLoss for PerToken {
    fn needs_reference(&self) -> bool {
        true
    }

    fn reward(&self, side: &Side) -> Tensor<1> {
        side.log_ratio().div(side.length.clone()).mul_scalar(self.beta)
    }

    fn terms(&self, chosen: &Side, rejected: &Side) -> Tensor<1> {
        log_sigmoid(self.reward(chosen).sub(self.reward(rejected))).neg()
    }
}

/// Pairs of an optimizer step.
const MINIBATCH: usize = 32;
/// Pairs that are learnt from, at most.
const PAIRS: usize = 3200;

/// The flags that all recipes have.
#[derive(Parser, Debug, Serialize)]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    #[serde(flatten)]
    resume: ResumeArgs,
}

fn main() -> Result<()> {
    flags::run("custom_algorithm", run)
}

fn run(mut args: Args) -> Result<()> {
    let given = [("--micro-batch", args.common.passes.micro_batch.is_some())];
    flags::unused(&given, "custom_algorithm, whose weights are those of whole steps")?;
    args.resume.check()?;
    args.common.fill(None);
    let mut setup = args.common.open("custom_algorithm", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    setup.pairs()?;
    setup.reward()?;
    if args.common.dry_run {
        return args.tell(&setup);
    }
    let folder = setup.begin(&args)?;
    let (pairs, trust, bank) = setup.prepare(&folder, || start(&setup, &folder))?;
    let recipe = Supervised {
        objective: Preference::new(PerToken { beta: 2.0 }),
        order: Epochs { items: pairs.len(), minibatch: MINIBATCH, epochs: 1, seed: setup.seed },
        lr: Schedule::constant(3e-4),
        batch: |_: &ModelBank, items: &[usize]| {
            let part: Vec<Pair> = items.iter().map(|&i| pairs[i].clone()).collect();
            let trust: Vec<f32> = items.iter().map(|&i| trust[i]).collect();
            let weights: Vec<f32> = trust.iter().map(|t| t / trust.iter().sum::<f32>()).collect();
            let mut batches = pair_batch(&part, part.len(), &setup.device)?;
            let weights = TensorData::new(weights, [part.len()]);
            batches[0].1.weights = Tensor::from_data(weights, &setup.device);
            Ok(batches)
        },
    };
    let learner = (Learner::new(bank, &OptimizerConfig::default()), Learner::into_model);
    let (run, shown) = ((folder, &args.resume), ["preference_loss", "accuracy"]);
    setup.train("custom_algorithm", run, &recipe, learner, Watch::default(), (&shown, 20))
}

impl Args {
    /// Says what the run would do.
    fn tell(&self, setup: &Setup) -> Result<()> {
        setup.check_place(self)?;
        let pairs = &setup.pairs()?[..setup.pairs()?.len().min(PAIRS)];
        let batches = Batches {
            minibatch: MINIBATCH,
            micro_batch: MINIBATCH,
            sequences: 2,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let lengths = longest(pairs.iter().flat_map(|(chosen, rejected)| [chosen, rejected]));
        let workload = setup.workload(batches, pairs.len(), lengths);
        let work = (setup.adapted(Method::dpo_precomputed())?, workload);
        let order =
            Epochs { items: pairs.len(), minibatch: MINIBATCH, epochs: 1, seed: setup.seed };
        // Reward model and reference read all pairs once.
        let visits = (&order, pairs.len(), 2.0);
        let rows = |i: usize| vec![&pairs[i].0, &pairs[i].1];
        setup.tell(Stage::on_rows(("custom_algorithm", "pairs"), work, visits, rows))
    }
}

/// The pairs, how far each is trusted, and who learns.
fn start(setup: &Setup, folder: &RunFolder) -> Result<(Vec<Pair>, Vec<f32>, ModelBank)> {
    let pairs: Vec<Pair> = setup.pairs()?.iter().take(PAIRS).cloned().map(Pair::from).collect();
    let (rows, at_once) = (sequences_of(&pairs), setup.passes.rows());
    let scores = setup.scores(&rows)?;
    let trust = scores.chunks(2).map(|s| ((s[0] - s[1]).abs() / 2.0).tanh()).collect();
    let frozen = setup.start()?;
    let reading = Reading::Logprobs(Role::Actor);
    let pairs = with_reference(pairs, &reference_logprobs(&frozen, reading, &rows, at_once)?)?;
    let bank = setup.policy_bank("custom", false)?;
    say!("before: {}", setup.show_start(&bank, Some(folder))?);
    Ok((pairs, trust, bank))
}
