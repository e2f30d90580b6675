//! Policy gradients without a critic: GRPO, Dr. GRPO, DAPO, GSPO, RLOO, REINFORCE++ and ReMax.
//!
//! ```text
//! cargo run --release --example grpo
//! cargo run --release --example grpo -- --method rloo --kl 0.1
//! cargo run --release --example grpo -- --model DIR --reward DIR --prompts FILE.jsonl --out DIR
//! ```
use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use hydralign::algorithms::{AlgorithmError, CreditRule, DynamicSampling, Surrogate, scores_of};
use hydralign::core::random::sub_seed;
use hydralign::kernels::retain_freed_memory;
use hydralign::memory::Dtype;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::sample_prompts;
use hydralign::runs::{Schedule, Steps, stop_on_ctrl_c};
use hydralign_examples::evaluate::respond;
use hydralign_examples::flags;
use hydralign_examples::say;
use hydralign_examples::setup::{CommonArgs, Setup};
use serde::Serialize;

/// Aligns a policy by the scores of groups of its own responses.
#[derive(Parser, Debug, Serialize)]
struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
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

/// What an iteration learns from.
#[derive(Default)]
struct Groups {
    /// Of each group, where no group was left out.
    prompts: Vec<Vec<u32>>,
    groups: Vec<Vec<Episode>>,
    /// Group by group, where they were needed to choose.
    scores: Option<Vec<f32>>,
    drawn: usize,
}

/// Why dynamic sampling ended.
enum Fault {
    Algorithm(AlgorithmError),
    Other(anyhow::Error),
}

impl From<AlgorithmError> for Fault {
    fn from(error: AlgorithmError) -> Self {
        Self::Algorithm(error)
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

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
            ("--preferences", self.common.preferences.is_some()),
            ("--frozen-dtype", narrow && !config.needs_reference() && self.common.reward.is_none()),
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
    let mut args: Args = flags::parse()?;
    args.fill();
    args.check()?;
    retain_freed_memory();
    let setup = args.common.open("grpo", &stop_on_ctrl_c()?)?;
    let method = CriticFree::new(args.config())?;
    let placement = Placement::policy("grpo", method.config().needs_reference(), false);
    let start = Start::joint(&setup.policy);
    let scorer = setup.passes.carry(setup.reward()?.bank())?;
    let reward = setup.reward()?.by(&scorer, setup.passes.rows());
    setup.prompts()?;
    let folder = setup.begin(&args)?;
    let mut learner = setup.prepare(&folder, || {
        let bank = ModelBank::new(&placement, &start, &LoraShape::default(), setup.seed)?;
        let bank = setup.passes.carry(bank)?;
        say!("before: {}", setup.show_start(&bank)?);
        Ok(Learner::new(bank, &OptimizerConfig::default()))
    })?;
    let (mut done, mut before, mut ended) = (0, 0, Ok(()));
    while done < args.iterations && !setup.stop.is_stopped() {
        before = learner.steps();
        match args.iterate(&setup, &method, &reward, &mut learner, done) {
            Err(_) if setup.stop.is_stopped() && learner.steps() == before => break,
            Err(error) => ended = Err(error),
            Ok(()) => done += 1,
        }
        if ended.is_err() {
            break;
        }
    }
    let begun = ended.is_err() && learner.steps() > before;
    let progress = Steps { done, steps: args.iterations, begun };
    setup.finish(folder, learner.model(), progress, ended)
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

    /// The groups of an iteration; in dapo those whose scores differ, with the scores.
    fn groups(
        &self,
        setup: &Setup,
        bank: &ModelBank,
        reward: &dyn Reward,
        iteration: usize,
    ) -> Result<Groups> {
        let count = self.prompts_per_iteration;
        let rounds = match self.method {
            Name::Dapo => self.sampling_rounds.unwrap_or(ROUNDS),
            _ => 1,
        };
        let draw = |round: usize, wanted: usize| -> Result<Groups> {
            let number = iteration * rounds + round;
            let mut prompts = setup.prompts_of(number, count)?;
            prompts.truncate(wanted);
            let offset = (number * count * self.samples) as u64;
            let drawn = sample_prompts(&prompts, self.samples, setup.seed, offset);
            let episodes = respond(bank, &drawn, &setup.generation, &self.sampler(), &setup.stop)?;
            let groups = episodes.chunks(self.samples).map(<[Episode]>::to_vec).collect();
            Ok(Groups { prompts, groups, scores: None, drawn: wanted })
        };
        if rounds == 1 {
            return draw(0, count);
        }
        let sampling = DynamicSampling { groups: count, rounds };
        let found = sampling.collect(|round, missing| -> Result<_, Fault> {
            let groups = draw(round, missing)?.groups;
            let scored = |group: Vec<Episode>| -> Result<_> {
                let scores = scores_of(reward, &group)?;
                Ok((group, scores))
            };
            Ok(groups.into_iter().map(scored).collect::<Result<Vec<_>>>()?)
        });
        match found {
            Ok(found) => Ok(Groups {
                prompts: Vec::new(),
                groups: found.groups,
                scores: Some(found.scores.concat()),
                drawn: found.drawn,
            }),
            // Not one group in all rounds: there is nothing to learn from now.
            Err(Fault::Algorithm(AlgorithmError::Empty { .. })) => Ok(Groups::default()),
            Err(Fault::Algorithm(error)) => Err(error.into()),
            Err(Fault::Other(error)) => Err(error),
        }
    }

    /// Sample, score, credit, update.
    fn iterate(
        &self,
        setup: &Setup,
        method: &CriticFree,
        reward: &dyn Reward,
        learner: &mut Learner<ModelBank>,
        iteration: usize,
    ) -> Result<()> {
        let number = iteration + 1;
        let found = self.groups(setup, learner.model(), reward, iteration)?;
        if found.groups.is_empty() {
            say!("iteration {number}: no group's scores differ in any round: no step");
            return Ok(());
        }
        let kept = found.groups.len();
        let greedy = match self.method {
            Name::Remax => {
                let prompts = sample_prompts(&found.prompts, 1, setup.seed, 0);
                let greedy = SamplerConfig::greedy();
                let (model, generation) = (learner.model(), &setup.generation);
                Some(respond(model, &prompts, generation, &greedy, &setup.stop)?)
            }
            _ => None,
        };
        let known = found.scores.map(|scores| move |_: &[Episode]| scores.clone());
        let experience = method.experience(
            learner.model(),
            found.groups,
            greedy.as_deref(),
            &self.sampler(),
            Some(known.as_ref().map_or(reward, |known| known)),
            &mut (),
        )?;
        let lr = Schedule::linear(self.lr).lr(iteration + 1, self.iterations);
        let seed = sub_seed(setup.seed, &format!("update {iteration}"));
        let report = method.update(learner, &experience, lr, seed, &setup.device, &mut ())?;
        let score = experience.mean(|s| s.score.into());
        let equal = 100.0 * experience.equal_groups;
        let drawn = match found.drawn > kept {
            true => format!(", {kept} of {} groups kept", found.drawn),
            false => String::new(),
        };
        if report.steps == 0 {
            say!("iteration {number}: score {score:.3}, {equal:.0} % of groups equal: no step");
            return Ok(());
        }
        say!(
            "iteration {number}: score {score:.3}, KL {}, clipped {:.3}, {equal:.0} % of groups equal{drawn}",
            experience.mean_kl.map_or("–".into(), |kl| format!("{kl:.2}")),
            report.get("clip_fraction").unwrap_or(0.0)
        );
        Ok(())
    }
}
