//! Policy gradients without a critic: GRPO, Dr. GRPO, DAPO, GSPO, RLOO, REINFORCE++ and ReMax.
//!
//! ```text
//! cargo run --release --example grpo
//! cargo run --release --example grpo -- --method rloo --kl 0.1
//! cargo run --release --example grpo -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use hydralign::core::random::sub_seed;
use hydralign::kernels::retain_freed_memory;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{Schedule, stop_on_ctrl_c};
use hydralign_examples::evaluate::respond;
use hydralign_examples::setup::CommonArgs;

/// Aligns a policy by the scores of groups of its own responses.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The method.
    #[arg(long, value_enum, default_value = "grpo")]
    method: Name,
    /// Coefficient of the KL penalty, in the loss or the reward as the method has it.
    #[arg(long, default_value_t = 0.1)]
    kl: f64,
    /// Iterations.
    #[arg(long, default_value_t = 30)]
    iterations: usize,
    /// Prompts of an iteration.
    #[arg(long, default_value_t = 16)]
    prompts_per_iteration: usize,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 4)]
    samples: usize,
    /// Peak learning rate, falling to 0.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Name {
    Grpo,
    DrGrpo,
    Dapo,
    Gspo,
    Rloo,
    ReinforcePp,
    Remax,
}

impl Args {
    fn config(&self) -> CriticFreeConfig {
        let mut config = match self.method {
            Name::Grpo => CriticFreeConfig::grpo(),
            Name::DrGrpo => CriticFreeConfig::dr_grpo(self.common.max_new_tokens),
            Name::Dapo => CriticFreeConfig::dapo(None),
            Name::Gspo => CriticFreeConfig::gspo(),
            Name::Rloo => CriticFreeConfig::rloo(),
            Name::ReinforcePp => CriticFreeConfig::reinforce_pp(false),
            Name::Remax => CriticFreeConfig::remax(),
        };
        match config.kl_reward > 0.0 {
            true => config.kl_reward = self.kl,
            false if config.kl_loss.coef > 0.0 => config.kl_loss.coef = self.kl,
            false => {}
        }
        let passes = &self.common.passes;
        let micro_batch = passes.micro_batch.unwrap_or(config.micro_batch);
        let score_batch = passes.score_batch.unwrap_or(config.score_batch);
        CriticFreeConfig { minibatches: 2, micro_batch, score_batch, ..config }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.kl.is_finite() && args.kl >= 0.0, "--kl must not be negative");
    retain_freed_memory();
    let setup = args.common.open("grpo", &stop_on_ctrl_c()?)?;
    let method = CriticFree::new(args.config())?;
    let placement = Placement::policy("grpo", method.config().needs_reference(), true);
    let start = Start { policy: &setup.policy, reward: setup.reward()? };
    let bank = ModelBank::new(&placement, &start, &LoraShape::default(), setup.seed)?;
    let bank = setup.passes.carry(bank)?;
    println!("before: {}", setup.show(&bank)?);
    let mut learner = Learner::new(bank, &OptimizerConfig::default());
    let (sampler, schedule) = (SamplerConfig::default(), Schedule::linear(args.lr));
    for iteration in 0..args.iterations {
        if setup.stop.is_stopped() {
            break;
        }
        let prompts = setup.prompts_of(iteration, args.prompts_per_iteration)?;
        let episodes = setup.sample(learner.model(), &prompts, args.samples, iteration)?;
        let greedy = match args.method {
            Name::Remax => {
                let prompts = sample_prompts(&prompts, 1, setup.seed, 0);
                let greedy = SamplerConfig::greedy();
                let (model, generation) = (learner.model(), &setup.generation);
                Some(respond(model, &prompts, generation, &greedy, &setup.stop)?)
            }
            _ => None,
        };
        let groups = episodes.chunks(args.samples).map(<[Episode]>::to_vec).collect();
        let experience = method.experience(
            learner.model(),
            groups,
            greedy.as_deref(),
            &sampler,
            None,
            &mut (),
        )?;
        let lr = schedule.lr(iteration + 1, args.iterations);
        let seed = sub_seed(setup.seed, &format!("update {iteration}"));
        let report = method.update(&mut learner, &experience, lr, seed, &setup.device, &mut ())?;
        println!(
            "iteration {}: score {:.3}, KL {}, clipped {:.3}",
            iteration + 1,
            experience.mean(|s| s.score.into()),
            experience.mean_kl.map_or("–".into(), |kl| format!("{kl:.2}")),
            report.get("clip_fraction").unwrap_or(0.0)
        );
    }
    println!("after:  {}", setup.show(learner.model())?);
    println!("saved in {}", setup.save(learner.model())?.display());
    Ok(())
}
