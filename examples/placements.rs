//! The five placements compared on the shipped task: one SFT and Hydra-SFT per seed, then PPO
//! in each placement from that same joint model. Writes `results.jsonl` and `results.md`.
//!
//! ```text
//! cargo run --release --example placements -- --seeds 0,1,2,3,4
//! ```
//!
//! Seeds that the folder already holds are not run again, so a sweep may be cut and continued,
//! or divided among processes.
use anyhow::{Result, ensure};
use clap::Parser;
use hydralign::core::Fingerprint;
use hydralign::core::random::sub_seed;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::memory::format_bytes;
use hydralign::models::{ModelBank, load_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{
    Cell, Ledger, Progress, StopFlag, Table, mean, sample_std, stop_on_ctrl_c, write_atomic,
};
use hydralign_examples::data::{RunData, load_tokenizer};
use hydralign_examples::evaluate::{Judged, judge};
use hydralign_examples::lab::made_of;
use hydralign_examples::recipe::Recipe;
use hydralign_examples::say;
use hydralign_examples::stages::Stages;
use hydralign_examples::{base_model_dir, device, memory};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Compares the five placements over seeds.
#[derive(Parser, Debug)]
struct Args {
    /// Seeds to run.
    #[arg(long, value_delimiter = ',', default_values_t = [0u64, 1, 2, 3, 4])]
    seeds: Vec<u64>,
    /// Folder of the results.
    #[arg(long, value_name = "DIR", default_value = "runs/placements")]
    out: PathBuf,
    /// A few seconds per seed, to see that everything works.
    #[arg(long)]
    smoke: bool,
}

/// One placement with one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    /// What it follows from; empty in lines that do not say.
    #[serde(default)]
    made_of: String,
    placement: String,
    seed: u64,
    static_models: usize,
    lora_sets: usize,
    trained_parameters: u64,
    seconds_per_sample: f64,
    peak_bytes: u64,
    predicted_bytes: u64,
    gold_sft: f64,
    gold_hydra_sft: f64,
    gold_ppo: f64,
    win_rate: f64,
    kl: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    retain_freed_memory();
    let stop = stop_on_ctrl_c()?;
    std::fs::create_dir_all(&args.out)?;
    let path = args.out.join("results.jsonl");
    for &seed in &args.seeds {
        if !stop.is_stopped() {
            match run_seed(seed, args.smoke, &path, &stop) {
                Err(_) if stop.is_stopped() => {} // a measurement was cut short
                other => other?,
            }
        }
    }
    if stop.is_stopped() {
        say!(
            "stopped: {} keeps the seeds and placements done; the same command goes on",
            path.display()
        );
    }
    let table = summary(&outcomes(&path)?)?;
    say!("{}", table.to_text());
    write_atomic(&args.out.join("results.md"), table.to_markdown().as_bytes())?;
    Ok(())
}

fn outcomes(path: &Path) -> Result<Vec<Outcome>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// What the outcomes of a seed follow from: its stages, and all settings of the recipe.
fn whole_run(recipe: &Recipe, base: &Checkpoint, data: &RunData) -> Result<String> {
    let mut fingerprint = Fingerprint::new("hydralign placements");
    fingerprint.text(&made_of(recipe, base, data)?);
    fingerprint.text(&serde_json::to_string(recipe)?);
    Ok(fingerprint.finish())
}

/// The placements of a seed that the file has outcomes of.
fn done(path: &Path, seed: u64, made_of: &str) -> Result<Vec<String>> {
    let there: Vec<Outcome> = outcomes(path)?.into_iter().filter(|o| o.seed == seed).collect();
    for outcome in &there {
        ensure!(
            outcome.made_of == made_of,
            "{}: {} of seed {seed} was made with another version, recipe or base model: give this comparison another --out",
            path.display(),
            outcome.placement
        );
    }
    Ok(there.into_iter().map(|o| o.placement).collect())
}

/// Trains the joint model of a seed once and each missing placement from it.
fn run_seed(seed: u64, smoke: bool, path: &Path, stop: &StopFlag) -> Result<()> {
    let device = device::open("flex")?;
    let base = load_checkpoint(&base_model_dir(), &device)?;
    let tokenizer = load_tokenizer(&base_model_dir())?;
    let mut recipe = Recipe { seed, ..Recipe::default() };
    if smoke {
        recipe = recipe.smoke();
    }
    recipe.generation.stop_tokens = tokenizer.eos_ids().to_vec();
    let context = base.trunk.architecture().context;
    let data = RunData::of_task(&tokenizer, context, &recipe)?;
    let made_of = whole_run(&recipe, &base, &data)?;
    let done = done(path, seed, &made_of)?;
    if done.len() == Placement::five_ppos().len() {
        return Ok(());
    }
    let (device, tokenizer, ledger) = (&device, &tokenizer, &Ledger::default());
    let stages =
        Stages { recipe: &recipe, data: &data, stop, device, tokenizer, ledger, checkpoints: None };
    let look = |bank: &ModelBank| judge(bank, &data.held_out, &recipe, Some(tokenizer), stop);
    let mut progress = Progress::stderr(&["nll", "score", "gold", "kl"], 20);
    let sft = stages.sft(&base, &mut progress)?;
    let sft_judged = look(&sft)?;
    let joint = stages.hydra_sft(&sft.checkpoint(Role::Actor)?, &mut progress)?;
    drop(sft);
    let joint_judged = look(&joint)?;
    let start = joint.checkpoint(Role::Actor)?;
    drop(joint);
    for placement in Placement::five_ppos().iter().rev().filter(|p| !done.contains(&p.name)) {
        if stop.is_stopped() {
            return Ok(());
        }
        let mut run = PlacementRun { stages: &stages, placement, start: &start, kl: 0.0 };
        let (mut outcome, bank) = run.train(&mut progress)?;
        if stop.is_stopped() {
            return Ok(()); // the training may have been cut short: no result
        }
        let judged = look(&bank)?;
        (outcome.kl, outcome.made_of) = (run.kl, made_of.clone());
        fill_quality(&mut outcome, &sft_judged, &joint_judged, &judged);
        say!(
            "seed {seed}, {}: gold {:.2}, wins {:.1} %",
            placement.name,
            outcome.gold_ppo,
            100.0 * outcome.win_rate
        );
        append(path, &outcome)?;
    }
    Ok(())
}

struct PlacementRun<'a> {
    stages: &'a Stages<'a>,
    placement: &'a Placement,
    start: &'a Checkpoint,
    kl: f64,
}

impl Observer for PlacementRun<'_> {
    fn stats(&mut self, stats: &Stats) {
        self.kl = stats.get("kl").unwrap_or(self.kl);
    }
}

impl PlacementRun<'_> {
    fn train(&mut self, progress: &mut Progress) -> Result<(Outcome, ModelBank)> {
        let (recipe, placement) = (self.stages.recipe, self.placement);
        let architecture = self.start.trunk.architecture();
        let shape = &architecture.shape;
        let mut clock = memory::clock(CountingAllocator::live());
        let seed = sub_seed(recipe.seed, "ppo weights");
        let bank = ModelBank::new(placement, &Start::joint(self.start), &recipe.lora, seed)?;
        let longest = self.stages.data.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let prediction = memory::prediction(placement, architecture, recipe, longest)?;
        let stages = self.stages;
        let mut observers = (&mut clock, progress, self);
        let bank = stages.ppo(bank, None, &mut observers)?.model()?;
        let totals = clock.totals();
        clock.stop();
        let samples = recipe.ppo.steps * recipe.ppo.prompts * recipe.ppo.samples;
        let seconds: f64 = totals.iter().map(|t| t.wall.as_secs_f64()).sum();
        let outcome = Outcome {
            made_of: String::new(),
            placement: placement.name.clone(),
            seed: recipe.seed,
            static_models: placement.static_models(),
            lora_sets: placement.lora_sets(),
            trained_parameters: placement.trained_parameters(shape, &recipe.lora),
            seconds_per_sample: seconds / samples as f64,
            peak_bytes: totals.iter().filter_map(|t| t.peak_bytes).max().unwrap_or(0),
            predicted_bytes: prediction.peak().map_or(0, |(_, footprint)| footprint.total()),
            gold_sft: f64::NAN,
            gold_hydra_sft: f64::NAN,
            gold_ppo: f64::NAN,
            win_rate: f64::NAN,
            kl: f64::NAN,
        };
        Ok((outcome, bank))
    }
}

fn fill_quality(outcome: &mut Outcome, sft: &Judged, joint: &Judged, ppo: &Judged) {
    let gold = |judged: &Judged| judged.mean_gold().unwrap_or(f64::NAN);
    (outcome.gold_sft, outcome.gold_hydra_sft) = (gold(sft), gold(joint));
    outcome.gold_ppo = gold(ppo);
    outcome.win_rate = ppo.against(joint).map_or(f64::NAN, |w| w.rate);
}

/// One write per line, so that processes may share the file.
fn append(path: &Path, outcome: &Outcome) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{}\n", serde_json::to_string(outcome)?).as_bytes())?;
    Ok(())
}

fn summary(all: &[Outcome]) -> Result<Table> {
    ensure!(!all.is_empty(), "no results yet");
    let mut table = Table::new(&[
        "placement",
        "static models",
        "LoRA sets",
        "trained",
        "s/sample",
        "peak",
        "predicted",
        "gold",
        "wins over Hydra-SFT, %",
        "KL, nats",
        "seeds",
    ]);
    for placement in Placement::five_ppos() {
        let rows: Vec<&Outcome> = all.iter().filter(|o| o.placement == placement.name).collect();
        let Some(first) = rows.first() else { continue };
        let over = |of: &dyn Fn(&Outcome) -> f64, decimals| {
            let values: Vec<f64> = rows.iter().map(|o| of(o)).collect();
            Cell::mean_std(mean(&values).unwrap_or(f64::NAN), sample_std(&values), decimals)
        };
        let peak = rows.iter().map(|o| o.peak_bytes).max().unwrap_or(0);
        table.row([
            Cell::text(&placement.name),
            Cell::count(first.static_models as u64),
            Cell::count(first.lora_sets as u64),
            Cell::count(first.trained_parameters),
            over(&|o| o.seconds_per_sample, 4),
            Cell::text(format_bytes(peak)).right(),
            Cell::text(format_bytes(first.predicted_bytes)).right(),
            over(&|o| o.gold_ppo, 2),
            over(&|o| 100.0 * o.win_rate, 1),
            over(&|o| o.kl, 2),
            Cell::count(rows.len() as u64),
        ])?;
    }
    Ok(table)
}
