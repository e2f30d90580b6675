//! SFT → Hydra-SFT → PPO in one of the five placements, on the shipped task or on your own data.
//!
//! ```text
//! cargo run --release --example hydra_rlhf
//! cargo run --release --example hydra_rlhf -- --placement j_hydra_ppo --seed 3
//! cargo run --release --example hydra_rlhf -- --model DIR --prompts P.jsonl --preferences F.jsonl --out DIR
//! ```
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Result, bail, ensure};
use clap::Parser;
use hydralign::calibrate;
use hydralign::core::Observers;
use hydralign::core::random::sub_seed;
use hydralign::data::{ChatTemplate, TextTokenizer};
use hydralign::families::Architecture;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::memory::{Category, Meter, Method, format_bytes, parse_bytes};
use hydralign::models::{ModelBank, SaveOptions, copy_companions, save_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{
    Above, Ledger, MetricsFile, Overwrite, PhaseClock, PoolCleaner, Progress, RunFolder,
    SharedMeter, StopFlag, load_toml, read_metrics, save_toml, stop_on_ctrl_c, write_atomic,
};
use hydralign_examples::budget::{Parts, Watch, carried, plan_stages};
use hydralign_examples::data::{RunData, UserFiles, load_tokenizer};
use hydralign_examples::evaluate::{Judged, judge, mean_score};
use hydralign_examples::recipe::Recipe;
use hydralign_examples::stages::{Stages, is_numerical, placement_for};
use hydralign_examples::{base_model_dir, device, memory, report};
use std::path::PathBuf;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Aligns a small language model: SFT, Hydra-SFT, PPO.
#[derive(Parser, Debug)]
struct Args {
    /// ppo, lora_ppo, dynamic_lora_ppo, j_hydra_ppo or hydra_ppo.
    #[arg(long)]
    placement: Option<String>,
    /// Seed of everything that is drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// PPO iterations.
    #[arg(long)]
    steps: Option<usize>,
    /// Rank of adapters.
    #[arg(long)]
    rank: Option<usize>,
    /// Longest response that is sampled, in tokens.
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Settings; flags override them.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Your own model folder in Hugging Face layout (config.json, model.safetensors, tokenizer.json).
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Prompts for PPO, one {"prompt": …} a line.
    #[arg(long, value_name = "FILE.jsonl", requires = "model")]
    prompts: Option<PathBuf>,
    /// Pairs for Hydra-SFT, one {"prompt": …, "chosen": …, "rejected": …} a line.
    #[arg(long, value_name = "FILE.jsonl", requires = "model")]
    preferences: Option<PathBuf>,
    /// Completions for SFT, one {"prompt": …, "completion": …} a line; without, SFT is skipped.
    #[arg(long, value_name = "FILE.jsonl", requires = "model")]
    demonstrations: Option<PathBuf>,
    /// Run folder [default: runs/PLACEMENT-SEED].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace an earlier run in that folder.
    #[arg(long)]
    overwrite: bool,
    /// Bytes that no stage may exceed, such as 16GiB or 800MB; sets `memory_budget`.
    #[arg(long, value_name = "SIZE")]
    memory_budget: Option<String>,
    /// flex, wgpu or cuda, as far as this binary was built with them.
    #[arg(long, default_value = "flex")]
    device: String,
    /// A run of a few seconds that shows that everything works, and learns next to nothing.
    #[arg(long)]
    smoke: bool,
}

impl Args {
    fn recipe(&self) -> Result<Recipe> {
        let mut recipe: Recipe = match &self.config {
            Some(path) => load_toml(path)?,
            None => Recipe::default(),
        };
        if self.smoke {
            recipe = recipe.smoke();
        }
        recipe.placement = self.placement.clone().unwrap_or(recipe.placement);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.lora.rank = self.rank.unwrap_or(recipe.lora.rank);
        let new = &mut recipe.generation.max_new_tokens;
        *new = self.max_new_tokens.unwrap_or(*new);
        recipe.memory_budget = self.memory_budget.clone().or(recipe.memory_budget);
        recipe.ppo.steps = self.steps.unwrap_or(recipe.ppo.steps);
        ensure!(
            Placement::by_name(&recipe.placement).is_some(),
            "unknown placement `{}` (known: {})",
            recipe.placement,
            Placement::five_ppos().map(|p| p.name).join(", ")
        );
        recipe.ppo.ppo.validate()?;
        recipe.ppo.sampler.validate()?;
        recipe.generation.validate()?;
        Ok(recipe)
    }

    fn folder(&self, recipe: &Recipe) -> Result<RunFolder> {
        let named = || PathBuf::from(format!("runs/{}-{}", recipe.placement, recipe.seed));
        let path = self.out.clone().unwrap_or_else(named);
        // Runs of the shipped task follow from their seed, so their default folder may be redone.
        let replace = self.overwrite || self.out.is_none();
        let overwrite = if replace { Overwrite::Replace } else { Overwrite::Refuse };
        Ok(RunFolder::create(path, overwrite)?)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut recipe = args.recipe()?;
    retain_freed_memory();
    let stop = stop_on_ctrl_c()?;
    let device = device::open(&args.device)?;
    let dir = args.model.clone().unwrap_or_else(base_model_dir);
    let base = hydralign::models::load_checkpoint(&dir, &device)?;
    let tokenizer = load_tokenizer(&dir)?;
    recipe.generation.stop_tokens = tokenizer.eos_ids().to_vec();
    let context = base.trunk.architecture().context;
    let data = match &args.model {
        None => RunData::of_task(&tokenizer, context, &recipe)?,
        Some(_) => {
            let files = UserFiles {
                prompts: args.prompts.clone(),
                preferences: args.preferences.clone(),
                demonstrations: args.demonstrations.clone(),
            };
            let template = ChatTemplate::from_dir(&dir)?;
            RunData::of_files(&files, &tokenizer, template.as_ref(), context, &recipe)?
        }
    };
    if let Some(table) = plan_stages(&mut recipe, base.trunk.architecture(), &data, &device)? {
        println!("{}", table.to_text());
    }
    let folder = args.folder(&recipe)?;
    save_toml(&folder.file("config.toml"), &recipe)?;
    let run = Run {
        stages: Stages {
            recipe: &recipe,
            data: &data,
            stop: &stop,
            device: &device,
            tokenizer: &tokenizer,
            ledger: &Ledger::default(),
        },
        folder: &folder,
        stop: &stop,
        meter: SharedMeter::new(memory::meter(&device)),
        base_dir: dir,
    };
    run.go(base)
}

struct Run<'a> {
    stages: Stages<'a>,
    folder: &'a RunFolder,
    stop: &'a StopFlag,
    meter: SharedMeter,
    base_dir: PathBuf,
}

impl Run<'_> {
    fn go(&self, base: Checkpoint) -> Result<()> {
        let began = Instant::now();
        let Stages { recipe, data, .. } = self.stages;
        println!(
            "placement {}, seed {}: {} demonstrations, {} pairs, {} prompts, {} held out\n",
            recipe.placement,
            recipe.seed,
            data.demonstrations.len(),
            data.preferences.len(),
            data.prompts.len(),
            data.held_out.len()
        );
        self.hold_only(&base);
        let mut metrics = MetricsFile::create(&self.folder.file("metrics.jsonl"))?
            .with_memory(self.meter.clone(), self.stages.ledger);
        let (start, mut judged) = self.supervised(base, &mut metrics)?;
        self.check_stopped()?;
        let bank = self.reinforce(start, &mut metrics, &mut judged)?;
        metrics.finish()?;
        self.finish(&bank, &judged, began)
    }

    /// SFT and Hydra-SFT; returns the checkpoint that PPO starts from.
    fn supervised(
        &self,
        base: Checkpoint,
        metrics: &mut MetricsFile,
    ) -> Result<(Checkpoint, Vec<(&'static str, Judged)>)> {
        let mut judged = Vec::new();
        let mut progress = Progress::stderr(&["nll", "ranking_loss", "ranking_accuracy", "lr"], 10);
        let start = if self.stages.data.demonstrations.is_empty() {
            base
        } else {
            let bank = self.stages.sft(&base, &mut observers(&mut [&mut progress, metrics]))?;
            progress.finish();
            self.check_stopped()?;
            drop(base);
            judged.push(("SFT", self.judge(&bank, metrics)?));
            bank.checkpoint(Role::Actor)?
        };
        self.hold_only(&start);
        let bank = self.stages.hydra_sft(&start, &mut observers(&mut [&mut progress, metrics]))?;
        progress.finish();
        self.check_stopped()?;
        judged.push(("Hydra-SFT", self.judge(&bank, metrics)?));
        let joint = bank.checkpoint(Role::Actor)?;
        save_checkpoint(
            &self.folder.file("models/hydra_sft"),
            &joint.trunk,
            joint.reward_head.as_ref(),
            &SaveOptions::default(),
        )?;
        copy_companions(&self.base_dir, &self.folder.file("models/hydra_sft"))?;
        Ok((joint, judged))
    }

    /// The bank that PPO trains, and the bytes that are live beside it.
    fn build(&self, start: Checkpoint, metrics: &mut MetricsFile) -> Result<(ModelBank, u64)> {
        let recipe = self.stages.recipe;
        let (placement, start) = placement_for(&recipe.placement, start)?;
        let shape = start.trunk.architecture().shape.clone();
        self.hold_only(&start);
        metrics.phase(Phase::Load);
        let seed = sub_seed(recipe.seed, "ppo weights");
        let with_start = self.live();
        let bank = ModelBank::new(&placement, &Start::joint(&start), &recipe.lora, seed)?;
        let bank = carried(bank, recipe.ppo.execution, recipe.ppo.frozen_dtype)?;
        let with_both = self.live();
        drop(start);
        let beside = (with_start + self.live()).saturating_sub(with_both);
        self.stages.ledger.set_beside(beside);
        println!(
            "\n{}: {} models and {} adapters held, {} of {} parameters trained",
            placement.name,
            placement.static_models(),
            placement.adapters.len(),
            placement.trained_parameters(&shape, &recipe.lora),
            placement.held_parameters(&shape, &recipe.lora),
        );
        Ok((bank, beside))
    }

    /// What PPO is planned from, where the run has a budget.
    fn parts(
        &self,
        placement: &Placement,
        architecture: Architecture,
        prompt_tokens: usize,
    ) -> Result<Option<Parts>> {
        let recipe = self.stages.recipe;
        if recipe.memory_budget.is_none() {
            return Ok(None);
        }
        let rates = calibrate(&architecture, self.stages.device)?;
        Ok(Some(Parts {
            method: Method::ppo(placement),
            architecture,
            lora: recipe.lora.clone(),
            workload: memory::workload(recipe, prompt_tokens),
            profile: memory::profile(),
            rates,
        }))
    }

    fn reinforce(
        &self,
        start: Checkpoint,
        metrics: &mut MetricsFile,
        judged: &mut Vec<(&'static str, Judged)>,
    ) -> Result<ModelBank> {
        let architecture = start.trunk.architecture().clone();
        let (bank, beside) = self.build(start, metrics)?;
        let (recipe, placement) = (self.stages.recipe, bank.placement());
        let longest = self.stages.data.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let prediction = memory::prediction(placement, &architecture, recipe, longest)?;
        if let Some((phase, footprint)) = prediction.peak() {
            println!("predicted peak: {} in phase {phase}\n", format_bytes(footprint.total()));
        }
        let parts = self.parts(placement, architecture, longest)?;
        let watch = match (&parts, &recipe.memory_budget) {
            (Some(parts), Some(text)) => {
                let bytes = parse_bytes(text)?;
                Some(Watch::new(parts.job(), bytes, self.meter.clone(), beside)?)
            }
            _ => None,
        };
        let mut clock = PhaseClock::new().with_memory(Above::new(self.meter.clone(), beside));
        let mut cleaner = PoolCleaner::new(self.stages.device);
        let mut progress = Progress::stderr(&["score", "gold", "kl", "clip_fraction"], 10);
        let (bank, result) = self.stages.ppo(
            bank,
            watch,
            &mut observers(&mut [&mut cleaner, &mut clock, &mut progress, metrics]),
        );
        progress.finish();
        let totals = clock.totals();
        clock.stop();
        report::save_trained(self.folder, &bank, &self.base_name())?;
        if let Err(error) = result {
            let kept = self.folder.path().display().to_string();
            let note = if is_numerical(&error) { "the numbers went bad" } else { "the run failed" };
            return Err(error.context(format!("{note}; the last good weights are in {kept}")));
        }
        let table = report::phases(&totals, &prediction)?;
        println!("{}", table.to_text());
        #[cfg(feature = "nvml")]
        println!("{}\n", memory::board());
        write_atomic(&self.folder.file("phases.md"), table.to_markdown().as_bytes())?;
        if !self.stop.is_stopped() {
            judged.push(("PPO", self.judge(&bank, metrics)?));
        }
        Ok(bank)
    }

    fn finish(
        &self,
        bank: &ModelBank,
        judged: &[(&'static str, Judged)],
        began: Instant,
    ) -> Result<()> {
        let has_gold = self.stages.data.has_gold;
        report::plot(self.folder, has_gold)?;
        let budget = self.stages.recipe.memory_budget.as_deref().map(parse_bytes).transpose()?;
        report::memory(self.folder, budget)?;
        let metrics = read_metrics(&self.folder.file("metrics.jsonl"))?;
        println!("{}", report::stages(&metrics)?.to_text());
        let models: Vec<(&str, &Judged)> = judged.iter().map(|(n, j)| (*n, j)).collect();
        if has_gold {
            let table = report::quality(&models)?;
            println!("{}", table.to_text());
            write_atomic(&self.folder.file("quality.md"), table.to_markdown().as_bytes())?;
        }
        let rows = self.stages.recipe.ppo.ppo.score_batch;
        for (name, judged) in &models {
            let score = mean_score(bank, &judged.episodes, rows)?;
            println!("{name}: mean reward-model score {score:.3} on held-out prompts");
        }
        if let [.., (_, before), ("PPO", after)] = models[..] {
            let samples = self.stages.recipe.evaluation.samples;
            println!(
                "\nHeld-out prompts, before and after PPO:\n{}",
                report::examples(self.stages.tokenizer, before, after, samples, 5)?
            );
        }
        println!(
            "{:.0} s in all; {} holds config.toml, metrics.jsonl, plots.svg, memory.svg and the trained weights",
            began.elapsed().as_secs_f64(),
            self.folder.path().display()
        );
        Ok(())
    }

    /// Bytes that the run's meter counts now.
    fn live(&self) -> u64 {
        self.meter.bytes_in_use().unwrap_or(0)
    }

    /// Tells the ledger that of all that is live only this checkpoint is the run's. The rest is
    /// beside it: data, tokenizer, earlier responses.
    fn hold_only(&self, checkpoint: &Checkpoint) {
        let (ledger, bytes) = (self.stages.ledger, memory::checkpoint_bytes(checkpoint));
        ledger.clear();
        ledger.hold(Category::Weights, bytes);
        ledger.set_beside(self.live().saturating_sub(bytes));
    }

    fn judge(&self, bank: &ModelBank, metrics: &mut MetricsFile) -> Result<Judged> {
        metrics.phase(Phase::Evaluate);
        let Stages { recipe, data, tokenizer, stop, .. } = self.stages;
        let gold: Option<&TextTokenizer> = data.has_gold.then_some(tokenizer);
        judge(bank, &data.held_out, recipe, gold, stop)
    }

    /// Before PPO there is nothing to keep yet.
    fn check_stopped(&self) -> Result<()> {
        if self.stop.is_stopped() {
            bail!("interrupted before PPO began; {} has the metrics", self.folder.path().display());
        }
        Ok(())
    }

    /// What trained adapters name as their base.
    fn base_name(&self) -> String {
        match self.stages.recipe.hydra_sft.adapter {
            true => self.base_dir.display().to_string(),
            false => "../../models/hydra_sft".into(),
        }
    }
}

fn observers<'a>(all: &'a mut [&'a mut dyn Observer]) -> Observers<'a> {
    Observers(all.iter_mut().map(|o| &mut **o as &mut dyn Observer).collect())
}
