//! Policy gradients without a critic: GRPO, Dr. GRPO, DAPO, GSPO, RLOO, REINFORCE++ and ReMax.
//!
//! ```text
//! cargo run --release --example grpo
//! cargo run --release --example grpo -- --method rloo --kl 0.1
//! cargo run --release --example grpo -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! cargo run --release --example grpo -- --resume DIR
//! ```
use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use hydralign::algorithms::{CreditRule, Surrogate};
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Dtype;
use hydralign::prelude::*;
use hydralign::runs::{Schedule, stop_on_ctrl_c};
use hydralign::train::{CriticFreeRecipe, Sampling};
use hydralign_examples::dry_run::{Batches, Stage, critic_free};
use hydralign_examples::flags;
use hydralign_examples::resume::ResumeArgs;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use hydralign_examples::watch::{LimitArgs, RolloutGuardArgs, WatchArgs};
use serde::Serialize;

/// Aligns a policy by the scores of groups of its own responses.
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
    rollout_guards: RolloutGuardArgs,
    #[command(flatten)]
    #[serde(flatten)]
    limits: LimitArgs,
    /// The method.
    #[arg(long, value_enum, default_value = "grpo")]
    method: Name,
    /// Coefficient of the KL penalty, in the loss or the reward as the method has it [default: 0.1 for
    /// methods that have one].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
    /// Passes over each rollout; 1 for rloo and remax, whose loss has no ratio.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Optimizer steps of a pass [default: 2; rloo, remax: 1, and no other].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    minibatches: Option<usize>,
    /// ε, how far the ratio counts below 1 [default: the method's].
    #[arg(long, value_name = "ε")]
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_low: Option<f64>,
    /// How far the ratio counts above 1 [default: the method's].
    #[arg(long, value_name = "ε")]
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_high: Option<f64>,
    /// Stop the steps on a rollout beyond this KL from the policy that sampled it.
    #[arg(long, value_name = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    target_kl: Option<f64>,
    /// γ, of reinforce-pp and remax [default: the method's].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    gamma: Option<f64>,
    /// Compare with the mean of the group, in reinforce-pp.
    #[arg(long)]
    group_baseline: bool,
    /// Leave responses that ran into the length limit out of the loss.
    #[arg(long)]
    mask_truncated: bool,
    /// Rounds of dapo's dynamic sampling: groups with equal scores are drawn anew [default: 4; 1 keeps
    /// what is there].
    #[arg(long, value_name = "ROUNDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling_rounds: Option<usize>,
    /// Logits are divided by it when responses are drawn.
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
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

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    Grpo,
    DrGrpo,
    Dapo,
    Gspo,
    Rloo,
    ReinforcePp,
    Remax,
}

/// Coefficient of the KL penalty, unless a flag says otherwise.
const KL: f64 = 0.1;
/// Rounds of dynamic sampling, unless a flag says otherwise.
const ROUNDS: usize = 4;

impl Args {
    /// Writes the defaults of the method out; what it does not have stays open.
    fn fill(&mut self) {
        let config = self.config();
        if config.needs_reference() {
            self.kl.get_or_insert(KL);
        }
        self.minibatches = Some(config.minibatches);
        if let Surrogate::Clipped { low, high, .. } = config.surrogate {
            (self.clip_low, self.clip_high) = (Some(low), Some(high));
        }
        if let CreditRule::ReturnToGo { gamma, .. } = config.credit {
            self.gamma = Some(gamma);
        }
        if self.method == Name::Dapo {
            self.sampling_rounds.get_or_insert(ROUNDS);
        }
        self.common.fill(Some(config.micro_batch));
    }

    fn config(&self) -> CriticFreeConfig {
        let mut config = match self.method {
            Name::Grpo => CriticFreeConfig::grpo(),
            Name::DrGrpo => CriticFreeConfig::dr_grpo(self.common.max_new_tokens),
            Name::Dapo => CriticFreeConfig::dapo(None),
            Name::Gspo => CriticFreeConfig::gspo(),
            Name::Rloo => CriticFreeConfig::rloo(),
            Name::ReinforcePp => CriticFreeConfig::reinforce_pp(self.group_baseline),
            Name::Remax => CriticFreeConfig::remax(),
        };
        let kl = self.kl.unwrap_or(KL);
        match config.kl_reward > 0.0 {
            true => config.kl_reward = kl,
            false if config.kl_loss.coef > 0.0 => config.kl_loss.coef = kl,
            false => {}
        }
        if let Surrogate::Clipped { low, high, .. } = &mut config.surrogate {
            (*low, *high) = (self.clip_low.unwrap_or(*low), self.clip_high.unwrap_or(*high));
        }
        if let CreditRule::ReturnToGo { gamma, .. } = &mut config.credit {
            *gamma = self.gamma.unwrap_or(*gamma);
        }
        let most = if config.surrogate == Surrogate::Reinforce { 1 } else { 2 };
        let passes = &self.common.passes;
        let micro_batch = passes.micro_batch.unwrap_or(config.micro_batch);
        let score_batch = passes.score_batch.unwrap_or(config.score_batch);
        let (epochs, minibatches) = (self.epochs, self.minibatches.unwrap_or(most));
        let (target_kl, mask_truncated) = (self.target_kl, self.mask_truncated);
        CriticFreeConfig {
            epochs,
            minibatches,
            micro_batch,
            score_batch,
            target_kl,
            mask_truncated,
            ..config
        }
    }

    /// Refuses what the method does not have.
    fn check_effects(&self) -> Result<()> {
        let config = self.config();
        let ratio = config.surrogate != Surrogate::Reinforce;
        let returns = matches!(config.credit, CreditRule::ReturnToGo { .. });
        let narrow = self.common.passes.frozen_dtype != Dtype::F32;
        let given = [
            ("--kl", self.kl.is_some() && !config.needs_reference() && self.kl != Some(0.0)),
            ("--clip-low", self.clip_low.is_some() && !ratio),
            ("--clip-high", self.clip_high.is_some() && !ratio),
            ("--target-kl", self.target_kl.is_some() && config.epochs * config.minibatches == 1),
            ("--gamma", self.gamma.is_some() && !returns),
            ("--group-baseline", self.group_baseline && self.method != Name::ReinforcePp),
            ("--sampling-rounds", self.sampling_rounds.is_some() && self.method != Name::Dapo),
            ("--kl-limit", self.limits.kl_limit.is_some() && !config.needs_reference()),
            ("--preferences", self.common.preferences.is_some()),
            ("--frozen-dtype", narrow && !config.needs_reference() && self.common.nothing_frozen()),
        ];
        let name = self.method.to_possible_value();
        let name = name.as_ref().map_or("this", |value| value.get_name());
        flags::unused(&given, &format!("--method {name}"))
    }

    fn sampler(&self) -> SamplerConfig {
        SamplerConfig { temperature: self.temperature, ..SamplerConfig::default() }
    }
}

fn main() -> Result<()> {
    flags::run("grpo", run)
}

fn run(mut args: Args) -> Result<()> {
    args.fill();
    args.check()?;
    retain_freed_memory();
    let mut setup = args.common.open("grpo", &stop_on_ctrl_c()?)?;
    args.resume.find(&mut setup.place);
    let method = args.config();
    if args.common.dry_run {
        return args.tell(&setup);
    }
    let scorer = setup.passes.carry(setup.reward()?.bank())?;
    let reward = setup.reward()?.by(&scorer, setup.passes.rows());
    setup.prompts()?;
    let folder = setup.begin(&args)?;
    let learner = setup.prepare(&folder, || {
        let bank = setup.policy_bank("grpo", method.needs_reference())?;
        say!("before: {}", setup.show_start(&bank, Some(&folder))?);
        Ok(Learner::new(bank, &OptimizerConfig::default()))
    })?;
    let reference = method.needs_reference().then_some(Reading::Logprobs(Role::Reference));
    let evaluation = args.watch.prompts(&setup, &reward, reference)?;
    let recipe = CriticFreeRecipe {
        method,
        sampling: args.sampling(&setup)?,
        sampling_rounds: args.rounds(),
        reward: &reward,
        steps: args.iterations,
        lr: Schedule::linear(args.lr),
        device: setup.device.clone(),
    };
    let shown = ["score", "kl", "equal_groups", "groups_drawn", "update_steps"];
    setup.train(
        "grpo",
        (folder, &args.resume),
        &recipe,
        (learner, Learner::into_model),
        args.watch.with(&evaluation, args.limits.guards(args.rollout_guards.guards()))?,
        (&shown, 1),
    )
}

impl Args {
    fn check(&self) -> Result<()> {
        flags::not_negative("--kl", self.kl.unwrap_or(0.0))?;
        self.check_effects()?;
        self.sampler().validate().context("--temperature")?;
        let groups = matches!(self.config().credit, CreditRule::Group(_)) || self.group_baseline;
        ensure!(
            self.samples > 1 || !groups,
            "--samples must be at least 2: the responses to a prompt are compared with each other"
        );
        flags::rate("--lr", self.lr)?;
        self.resume.check()?;
        self.watch.check(&self.resume)?;
        self.limits.check()?;
        flags::counts(&[
            ("--iterations", self.iterations),
            ("--prompts-per-iteration", self.prompts_per_iteration),
            ("--samples", self.samples),
            ("--sampling-rounds", self.sampling_rounds.unwrap_or(1)),
            ("--epochs", self.epochs),
            ("--minibatches", self.minibatches.unwrap_or(1)),
        ])?;
        self.config().validate().context("the settings of the method")
    }

    fn sampling<'a>(&self, setup: &'a Setup) -> Result<Sampling<'a>> {
        Ok(Sampling {
            prompts: setup.prompts()?,
            prompts_per_round: self.prompts_per_iteration,
            samples: self.samples,
            sampler: self.sampler(),
            generation: setup.generation.clone(),
            seed: setup.seed,
        })
    }

    /// Says what the run would do.
    fn tell(&self, setup: &Setup) -> Result<()> {
        setup.reward()?;
        let sampling = self.sampling(setup)?;
        sampling.validate()?;
        setup.check_place(self)?;
        let config = self.config();
        let count = self.prompts_per_iteration * self.samples;
        let batches = Batches {
            minibatch: count.div_ceil(config.minibatches),
            micro_batch: config.micro_batch,
            sequences: 1,
            checkpoints: self.resume.checkpoint_every > 0,
        };
        let prompt = sampling.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let workload = setup.workload(batches, count, (prompt, self.common.max_new_tokens));
        let method = setup.adapted(critic_free(config.needs_reference()))?;
        let greedy = usize::from(self.method == Name::Remax);
        let times = (self.iterations, self.rounds(), self.epochs as f64);
        setup.tell(Stage::sampled("grpo", (method, workload), &sampling, times, greedy))
    }

    /// Rounds of sampling: more than one in dapo alone.
    fn rounds(&self) -> usize {
        match self.method {
            Name::Dapo => self.sampling_rounds.unwrap_or(ROUNDS),
            _ => 1,
        }
    }
}
