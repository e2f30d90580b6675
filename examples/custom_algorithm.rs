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
use hydralign::algorithms::{Side, pair_batch, reference_logprobs, sequences_of, with_reference};
use hydralign::burn::tensor::activation::log_sigmoid;
use hydralign::burn::tensor::{Tensor, TensorData};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{Steps, stop_on_ctrl_c};
use hydralign_examples::flags;
use hydralign_examples::resume::metrics_after;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
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

fn main() -> Result<()> {
    let mut args: Args = flags::parse()?;
    let given = [("--micro-batch", args.common.passes.micro_batch.is_some())];
    flags::unused(&given, "custom_algorithm, whose weights are those of whole steps")?;
    args.common.fill(None);
    let setup = args.common.open("custom_algorithm", &stop_on_ctrl_c()?)?;
    let pair = |(chosen, rejected): &(Sequence, Sequence)| Pair {
        chosen: chosen.clone(),
        rejected: rejected.clone(),
        reference: None,
    };
    let pairs: Vec<Pair> = setup.pairs()?.iter().take(3200).map(pair).collect();
    setup.reward()?;
    let folder = setup.begin(&args)?;
    let rows = sequences_of(&pairs);
    let trust: Vec<f32> =
        setup.scores(&rows)?.chunks(2).map(|s| ((s[0] - s[1]).abs() / 2.0).tanh()).collect();
    let frozen = ModelBank::frozen(setup.policy.clone());
    let values =
        reference_logprobs(&frozen, Reading::Logprobs(Role::Actor), &rows, setup.passes.rows())?;
    drop(frozen);
    let pairs = with_reference(pairs, &values)?;

    let placement = Placement::policy("custom", false, false);
    let start = Start::joint(&setup.policy);
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), setup.seed)?;
    say!("before: {}", setup.show_start(&bank, Some(&folder))?);
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let mut metrics = metrics_after(&folder, 0)?;
    let ended = learn(&setup, &mut learner, (&pairs, &trust), &mut metrics);
    let ended = ended.and(metrics.finish().map_err(Into::into));
    let (done, steps) = (learner.steps(), pairs.len().div_ceil(32));
    setup.finish(folder, learner.model(), Steps { done, steps, begun: false }, ended)
}

fn learn(
    setup: &Setup,
    learner: &mut Learner<ModelBank>,
    (pairs, trust): (&[Pair], &[f32]),
    observer: &mut dyn Observer,
) -> Result<()> {
    let objective = Preference::new(PerToken { beta: 2.0 });
    let (steps, lr) = (pairs.len().div_ceil(32), 3e-4);
    for (step, (pairs, trust)) in pairs.chunks(32).zip(trust.chunks(32)).enumerate() {
        if setup.stop.is_stopped() {
            break;
        }
        let mut batches = pair_batch(pairs, 32, &setup.device)?;
        let weights: Vec<f32> = trust.iter().map(|t| t / trust.iter().sum::<f32>()).collect();
        let count = weights.len();
        batches[0].1.weights = Tensor::from_data(TensorData::new(weights, [count]), &setup.device);
        let report = learner.step(&objective, &batches, lr)?;
        let (stage, values) = ("custom_algorithm".into(), report.values(lr));
        observer.stats(&Stats { stage, step: step + 1, steps, values });
        if (step + 1) % 20 == 0 {
            say!("step {}: accuracy {:.2}", step + 1, report.get("accuracy").unwrap_or(0.0));
        }
    }
    Ok(())
}

/// The flags that all recipes have.
#[derive(Parser, Debug, Serialize)]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
}
