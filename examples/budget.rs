//! A run inside a memory budget: planned before it starts, watched while it lasts.

use crate::data::RunData;
use crate::memory::{profile, workload};
use crate::note;
use crate::recipe::{Recipe, Supervised};
use anyhow::{Context, Result};
use hydralign::calibrate;
use hydralign::families::Architecture;
use hydralign::memory::{
    Job, MemoryError, Method, Plan, Profile, Rates, Workload, format_bytes, parse_bytes,
};
use hydralign::prelude::{Device, LoraShape, Placement, Sequence};
use hydralign::runs::{Cell, Table};

/// A job with its parts.
pub struct Parts {
    /// The method.
    pub method: Method,
    /// Its models.
    pub architecture: Architecture,
    /// Its adapters.
    pub lora: LoraShape,
    /// What would be done at once without a budget.
    pub workload: Workload,
    /// The backend.
    pub profile: Profile,
    /// The device's speed.
    pub rates: Rates,
}

impl Parts {
    /// The job.
    pub fn job(&self) -> Job<'_> {
        let Self { method, architecture, lora, workload, profile, rates } = self;
        Job { method, architecture, lora, workload, profile, rates }
    }
}

/// The longest prompt and the longest response.
pub fn longest<'a>(rows: impl Iterator<Item = &'a Sequence>) -> (usize, usize) {
    rows.fold((1, 1), |(p, r), s| (p.max(s.prompt.len()), r.max(s.response.len())))
}

/// The choices of plans, a row each.
///
/// # Errors
/// Never in practice: rows have as many cells as there are headers.
pub fn table<'a>(plans: impl IntoIterator<Item = (&'a str, &'a Plan)>) -> Result<Table> {
    let mut table = Table::new(&[
        "stage",
        "decoded",
        "read",
        "differentiated",
        "vocabulary",
        "recomputed",
        "frozen",
        "peak",
        "in phase",
    ]);
    for (stage, plan) in plans {
        let w = &plan.workload;
        let count = |n: usize| Cell::count(n as u64);
        let pieces = |n: Option<usize>, what: &str| {
            Cell::text(n.map_or("at once".into(), |n| format!("by {n} {what}")))
        };
        let (phase, peak) = plan.prediction.peak().map(|(p, f)| (p, f.total())).unwrap_or_default();
        table.row([
            Cell::text(stage),
            count(w.generate_batch),
            count(w.score_batch),
            count(w.micro_batch),
            pieces(w.execution.logprob_chunk, "tokens"),
            pieces(w.execution.segment_blocks, "blocks"),
            Cell::text(w.frozen_dtype.name()),
            Cell::text(format_bytes(peak)).right(),
            Cell::text(phase.name()),
        ])?;
    }
    Ok(table)
}

/// Plans every stage of a recipe within its budget, puts the choices into the recipe and returns them as a
/// table; nothing without a budget.
///
/// # Errors
/// A budget that cannot be read; a stage that cannot stay within it, with what would fit.
pub fn plan_stages(
    recipe: &mut Recipe,
    architecture: &Architecture,
    data: &RunData,
    device: &Device,
) -> Result<Option<Table>> {
    let Some(text) = &recipe.memory_budget else { return Ok(None) };
    let bytes = parse_bytes(text)?;
    let rates = calibrate(architecture, device)?;
    let (profile, lora) = (profile(), recipe.lora.clone());
    let failed = |stage: &str| match stage {
        "PPO" => format!("memory_budget = \"{text}\": PPO"),
        _ => format!("memory_budget = \"{text}\": {stage}, beside the model that it starts from"),
    };
    let plan = |stage: &str, method: Method, workload: Workload, budget: u64| -> Result<Plan> {
        let (architecture, lora) = (architecture.clone(), lora.clone());
        let (profile, rates) = (profile.clone(), rates);
        let mut parts = Parts { method, architecture, lora, workload, profile, rates };
        match parts.job().plan(budget) {
            Err(MemoryError::NoFit(_)) if parts.workload.checkpoints => {
                parts.workload.checkpoints = false;
                let plan = parts.job().plan(budget).with_context(|| failed(stage))?;
                note(&format!(
                    "{stage}: no checkpoints, for which memory_budget = \"{text}\" has no room: a run that is resumed begins the stage anew"
                ));
                Ok(plan)
            }
            plan => plan.with_context(|| failed(stage)),
        }
    };
    // The checkpoint that a supervised stage starts from is held beside the model that it trains.
    let beside = bytes.saturating_sub(4 * architecture.shape.parameters());
    let mut plans = Vec::new();
    if !data.demonstrations.is_empty() {
        let sft = &mut recipe.sft;
        let wanted = supervised(sft, longest(data.demonstrations.iter()));
        let chosen = plan("SFT", Method::sft(), wanted, beside)?;
        adopt_supervised(sft, &chosen.workload);
        plans.push(("SFT", chosen));
    }
    let joint = &mut recipe.hydra_sft;
    let adapter = joint.adapter;
    let training = &mut joint.training;
    let both = data.preferences.iter().flat_map(|(chosen, rejected)| [chosen, rejected]);
    let wanted = supervised(training, longest(both));
    let chosen = plan("Hydra-SFT", hydra_sft(adapter), wanted, beside)?;
    adopt_supervised(training, &chosen.workload);
    plans.push(("Hydra-SFT", chosen));
    let placement = Placement::by_name(&recipe.placement).context("a known placement")?;
    let prompt = data.prompts.iter().map(Vec::len).max().unwrap_or(1);
    let chosen = plan("PPO", Method::ppo(&placement), workload(recipe, prompt), bytes)?;
    adopt(recipe, &chosen.workload);
    plans.push(("PPO", chosen));
    Ok(Some(table(plans.iter().map(|(stage, plan)| (*stage, plan)))?))
}

/// The workload of a supervised stage whose longest prompt and response have so many tokens.
pub fn supervised(settings: &Supervised, (prompt, response): (usize, usize)) -> Workload {
    Workload {
        micro_batch: settings.micro_batch.min(settings.minibatch),
        execution: settings.execution,
        checkpoints: settings.checkpoint_every > 0,
        ..Workload::uniform(settings.minibatch, prompt, response)
    }
}

/// Hydra-SFT of all weights, or of an adapter.
pub fn hydra_sft(adapter: bool) -> Method {
    let method = Method::hydra_sft();
    if adapter { method.with_adapter() } else { method }
}

/// Puts a workload's choices into a supervised stage.
fn adopt_supervised(stage: &mut Supervised, chosen: &Workload) {
    (stage.micro_batch, stage.execution) = (chosen.micro_batch, chosen.execution);
    if !chosen.checkpoints {
        stage.checkpoint_every = 0;
    }
}

/// Puts a workload's choices into the reinforcement learning of a recipe.
fn adopt(recipe: &mut Recipe, chosen: &Workload) {
    recipe.generation.batch_size = chosen.generate_batch;
    recipe.ppo.ppo.score_batch = chosen.score_batch;
    recipe.ppo.ppo.micro_batch = chosen.micro_batch;
    recipe.ppo.execution = chosen.execution;
    recipe.ppo.frozen_dtype = chosen.frozen_dtype;
    if !chosen.checkpoints {
        recipe.ppo.checkpoint_every = 0;
    }
}
