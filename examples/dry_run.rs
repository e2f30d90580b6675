//! What a run would do, said before it does it: `--dry-run`.

use crate::budget::{hydra_sft, longest, supervised};
use crate::data::RunData;
use crate::memory::{profile, workload};
use crate::recipe::{Recipe, Supervised};
use crate::say;
use crate::setup::Setup;
use crate::stages::placement_of;
use anyhow::Result;
use hydralign::algorithms::{Epochs, Order};
use hydralign::calibrate;
use hydralign::families::Architecture;
use hydralign::memory::{
    self, Activity, Estimate, Method, Rates, Work, Workload, format_bytes, predict,
};
use hydralign::prelude::*;
use hydralign::runs::{Cell, Table, duration};
use hydralign::train::Sampling;
use std::time::Duration;

/// A stage of a run.
#[derive(Debug)]
pub struct Stage {
    name: String,
    steps: usize,
    /// What is learnt from, and how often.
    what: &'static str,
    items: usize,
    /// Prompts included, over all steps.
    tokens: usize,
    /// Whether responses are sampled, so that there may be fewer tokens.
    samples: bool,
    method: Method,
    workload: Workload,
    /// Mean length of a prompt and a response.
    typical: (usize, usize),
    /// How often a batch of the workload is sampled, read and learnt from.
    passes: Passes,
    /// Bytes of models that the program holds and the method does not.
    beside: u64,
}

/// How often a batch of the workload is sampled, read and learnt from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passes {
    /// Sampled.
    pub generate: f64,
    /// Read without a gradient.
    pub read: f64,
    /// Learnt from.
    pub learn: f64,
}

impl Stage {
    /// A stage that learns from `count` items, `what` they are called, in an order. `rows` gives the sequences of
    /// one; `reads` says how often all are read without a gradient.
    pub fn on_rows<'a>(
        (name, what): (&str, &'static str),
        (method, workload): (Method, Workload),
        (order, count, reads): (&impl Order, usize, f64),
        rows: impl Fn(usize) -> Vec<&'a Sequence>,
    ) -> Self {
        let visited: Vec<usize> = order.minibatches().flatten().collect();
        let (mut sequences, mut prompts, mut responses) = (0, 0, 0);
        for row in visited.iter().flat_map(|&item| rows(item)) {
            sequences += 1;
            prompts += row.prompt.len();
            responses += row.response.len();
        }
        let (items, mean) = (visited.len(), |sum: usize| sum.div_ceil(sequences.max(1)).max(1));
        let (minibatch, all) = (workload.minibatch.min(count), count.max(1));
        let workload = Workload {
            batch: all,
            generate_batch: 1,
            score_batch: workload.score_batch.min(all),
            minibatch,
            micro_batch: workload.micro_batch.min(minibatch),
            ..workload
        };
        let learn = items as f64 / all as f64;
        Self {
            name: name.to_owned(),
            steps: order.steps(),
            what,
            items,
            tokens: prompts + responses,
            samples: false,
            method,
            workload,
            typical: (mean(prompts), mean(responses)),
            passes: Passes { generate: 0.0, read: reads, learn },
            beside: 0,
        }
    }

    /// A stage that learns from responses, drawn in `rounds` rounds, with `epochs` passes over those of a step.
    /// `beside` are responses to a prompt that are drawn and scored beside the samples.
    pub fn sampled(
        name: &str,
        (method, workload): (Method, Workload),
        sampling: &Sampling<'_>,
        (steps, rounds, epochs): (usize, usize, f64),
        beside: usize,
    ) -> Self {
        let (samples, new) = (sampling.samples + beside, sampling.generation.max_new_tokens);
        let drawn: Vec<usize> =
            (0..steps * rounds).flat_map(|round| sampling.prompts_of(round)).collect();
        let prompts: usize = drawn.iter().map(|&i| sampling.prompts[i].len()).sum();
        let items = drawn.len() * samples;
        let share = samples as f64 / sampling.samples.max(1) as f64;
        let times = (steps * rounds) as f64 * share;
        Self {
            name: name.to_owned(),
            steps,
            what: "responses",
            items,
            tokens: prompts * samples + items * new,
            samples: true,
            method,
            workload,
            typical: (prompts.div_ceil(drawn.len().max(1)).max(1), new),
            passes: Passes { generate: times, read: times, learn: steps as f64 * epochs },
            beside: 0,
        }
    }

    /// The same beside models of so many bytes.
    #[must_use]
    pub fn beside(self, beside: u64) -> Self {
        Self { beside, ..self }
    }

    /// Adds a row for each phase, and for what is held beside.
    fn tell_bytes(
        &self,
        architecture: &Architecture,
        lora: &LoraShape,
        table: &mut Table,
    ) -> Result<()> {
        let prediction = predict(&self.method, architecture, lora, &self.workload, &profile())?;
        let beside = (self.beside > 0).then_some(("beside, at most", self.beside));
        let phases = prediction.iter().map(|(phase, held)| (phase.name(), held.total()));
        for (phase, held) in phases.chain(beside) {
            let held = Cell::text(format_bytes(held)).right();
            table.row([Cell::text(&self.name), Cell::text(phase), held])?;
        }
        Ok(())
    }

    /// Seconds by a device's rates, for rows of the mean length.
    fn seconds(&self, architecture: &Architecture, lora: &LoraShape, rates: &Rates) -> Result<f64> {
        let (prompt_tokens, response_tokens) = self.typical;
        let workload = Workload { prompt_tokens, response_tokens, ..self.workload.clone() };
        let profile = profile();
        let of = |times: f64, kind: fn(&Activity) -> bool| -> Result<f64> {
            let activities = self.method.activities.iter().filter(|a| kind(a)).cloned().collect();
            let method = Method { activities, ..self.method.clone() };
            let estimate = Estimate::new(&method, architecture, lora, &workload, &profile)?;
            Ok(times * rates.seconds(&estimate)?)
        };
        let Passes { generate, read, learn } = self.passes;
        Ok(of(generate, |a| matches!(a.work, Work::Generate(_)))?
            + of(read, |a| matches!(a.work, Work::Read(_)))?
            + of(learn, |a| matches!(a.work, Work::Learn(_)))?)
    }
}

/// Prints what the stages would do: steps, what is learnt from, tokens, bytes by phase, and a time that is
/// estimated from the speed of two blocks of such a model.
///
/// # Errors
/// A workload that does not fit together; a device that cannot be timed.
pub fn tell(
    stages: &[Stage],
    architecture: &Architecture,
    lora: &LoraShape,
    device: &Device,
) -> Result<()> {
    let rates = calibrate(architecture, device)?;
    let mut table = Table::new(&["stage", "steps", "learnt from", "tokens", "time, about"]);
    let mut bytes = Table::new(&["stage", "phase", "bytes"]);
    let mut all = 0.0;
    for stage in stages {
        let seconds = stage.seconds(architecture, lora, &rates)?;
        all += seconds;
        let most = if stage.samples { "up to " } else { "" };
        table.row([
            Cell::text(&stage.name),
            Cell::count(stage.steps as u64),
            Cell::text(format!("{} {}", stage.items, stage.what)).right(),
            Cell::text(format!("{most}{}", stage.tokens)).right(),
            Cell::text(about(seconds)).right(),
        ])?;
        stage.tell_bytes(architecture, lora, &mut bytes)?;
    }
    say!("{}", table.to_text());
    say!("{}", bytes.to_text());
    say!(
        "{} of training in all, estimated from the speed of two blocks of this size; evaluation, loading and saving come on top. Bytes are predicted for the longest row or response. Nothing was written.",
        about(all)
    );
    Ok(())
}

fn about(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The stages of SFT → Hydra-SFT → PPO.
///
/// # Errors
/// An unknown placement.
pub fn three_stages(
    recipe: &Recipe,
    data: &RunData,
    architecture: &Architecture,
) -> Result<Vec<Stage>> {
    let order = |settings: &Supervised, items: usize, seed: &str| Epochs {
        items,
        minibatch: settings.minibatch,
        epochs: settings.epochs,
        seed: hydralign::core::random::sub_seed(recipe.seed, seed),
    };
    // The checkpoint that a supervised stage starts from is held beside the model that it trains.
    let start = 4 * architecture.shape.parameters();
    let mut stages = Vec::new();
    let rows = &data.demonstrations;
    if !rows.is_empty() {
        let work = (Method::sft(), supervised(&recipe.sft, longest(rows.iter())));
        let visits = (&order(&recipe.sft, rows.len(), "sft"), rows.len(), 0.0);
        let stage = Stage::on_rows(("sft", "rows"), work, visits, |i| vec![&rows[i]]);
        stages.push(stage.beside(start));
    }
    let (pairs, joint) = (&data.preferences, &recipe.hydra_sft);
    let both = pairs.iter().flat_map(|(chosen, rejected)| [chosen, rejected]);
    let work = (hydra_sft(joint.adapter), supervised(&joint.training, longest(both)));
    let visits = (&order(&joint.training, pairs.len(), "hydra_sft"), pairs.len(), 0.0);
    let of = |i: usize| vec![&pairs[i].0, &pairs[i].1];
    stages.push(Stage::on_rows(("hydra_sft", "pairs"), work, visits, of).beside(start));
    let placement = placement_of(&recipe.placement, joint.adapter)?;
    let prompt = data.prompts.iter().map(Vec::len).max().unwrap_or(1);
    let sampling = recipe.sampling(&data.prompts);
    let work = (Method::ppo(&placement), workload(recipe, prompt));
    let times = (recipe.ppo.steps, 1, recipe.ppo.ppo.epochs as f64);
    stages.push(Stage::sampled("ppo", work, &sampling, times, 0));
    Ok(stages)
}

/// A policy gradient without a critic, with or without a reference.
pub fn critic_free(reference: bool) -> Method {
    let mut method = Method::grpo();
    if !reference {
        for activity in &mut method.activities {
            activity.placement = Placement::policy("grpo", false, true);
            if let Work::Read(readings) = &mut activity.work {
                readings.retain(|reading| *reading != memory::Reading::Logprobs(Role::Reference));
            }
        }
    }
    method
}

/// How one program works on its rows or responses.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// Items of an optimizer step.
    pub minibatch: usize,
    /// Items that are differentiated at a time.
    pub micro_batch: usize,
    /// Sequences to an item: two where items are pairs.
    pub sequences: usize,
    /// Whether checkpoints are kept.
    pub checkpoints: bool,
}

impl Setup {
    /// The workload of a program that learns from `count` rows whose longest prompt and response have so many
    /// tokens.
    pub fn workload(
        &self,
        batches: Batches,
        count: usize,
        (prompt, response): (usize, usize),
    ) -> Workload {
        let Batches { minibatch, micro_batch, sequences, checkpoints } = batches;
        let minibatch = minibatch.clamp(1, count.max(1));
        Workload {
            generate_batch: self.generation.batch_size.min(count),
            score_batch: self.passes.rows().div_ceil(sequences).min(count),
            minibatch,
            micro_batch: micro_batch.min(minibatch),
            frozen_dtype: self.passes.frozen_dtype,
            execution: self.passes.execution(),
            checkpoints,
            ..Workload::uniform(count, prompt, response)
        }
    }

    /// A method as this program runs it: with adapters if such are trained, from the one that training goes on with.
    ///
    /// # Errors
    /// A placement that adapters do not fit.
    pub fn adapted(&self, method: Method) -> Result<Method> {
        if !self.trains_adapters() {
            return Ok(method);
        }
        let mut method = method.with_adapter();
        if self.policy.adapter.is_some() {
            for activity in &mut method.activities {
                let placement = activity.placement.clone();
                activity.placement = placement.starting_from_adapter(false)?;
            }
        }
        Ok(method)
    }

    /// Says what a stage would do, beside the models that the program keeps and the method does not hold.
    ///
    /// # Errors
    /// As [`tell`].
    pub fn tell(&self, stage: Stage) -> Result<()> {
        let architecture = self.policy.trunk.architecture();
        let holds = |role| {
            let mut learns = stage.method.activities.iter().filter(|a| a.optimizer);
            learns.any(|a| a.placement.views.contains_key(&role))
        };
        let start = !self.trains_adapters() && !holds(Role::Reference);
        let model = 4 * architecture.shape.parameters();
        let reward = self.reward.is_some() && !holds(Role::Reward);
        let beside = model * (u64::from(start) + u64::from(reward));
        let of_start = self.policy.adapter.as_ref().map(|adapter| adapter.lora().clone());
        let lora = self.lora.clone().or(of_start).unwrap_or_default();
        tell(&[stage.beside(beside)], architecture, &lora, &self.device)
    }
}
