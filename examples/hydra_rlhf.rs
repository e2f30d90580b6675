//! SFT → Hydra-SFT → PPO in one of the five placements, on the shipped task or on your own data.
//!
//! ```text
//! cargo run --release --example hydra_rlhf
//! cargo run --release --example hydra_rlhf -- --placement j_hydra_ppo --seed 3
//! cargo run --release --example hydra_rlhf -- --model DIR --prompts P.jsonl --preferences F.jsonl --out DIR
//! ```
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use hydralign::calibrate;
use hydralign::core::random::sub_seed;
use hydralign::data::{ChatTemplate, TextTokenizer};
use hydralign::families::Architecture;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::memory::{Category, Meter, Method, format_bytes, parse_bytes};
use hydralign::models::{ModelBank, SaveOptions, copy_companions, save_adapter, save_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{
    Above, CommandLine, Inputs, Kept, Ledger, MetricsFile, Overwrite, PhaseClock, Place,
    PoolCleaner, PredictedBytes, Progress, RunConfig, RunFolder, RunStatus, Sample, SamplesFile,
    Setting, SharedMeter, Steps, StopFlag, keep_in, read_metrics, record_command, record_predicted,
    stop_on_ctrl_c, write_atomic,
};
use hydralign::train::{BudgetWatch, StageCheckpoints, carried, checkpoint_bytes};
use hydralign_examples::budget::{Parts, plan_stages};
use hydralign_examples::data::{RunData, UserFiles, inputs, load_tokenizer};
use hydralign_examples::evaluate::{Judged, judge, mean_score};
use hydralign_examples::recipe::Recipe;
use hydralign_examples::resume::{metrics_after, resumed, stage_checkpoints};
use hydralign_examples::rows::{BadRow, Truncate};
use hydralign_examples::say;
use hydralign_examples::setup::{begin, check_place, existing, report as write_report};
use hydralign_examples::stages::{Stages, Trained, is_numerical, placement_for};
use hydralign_examples::{base_model_dir, device, dry_run, flags, memory, note, report};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
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
    /// Rank of adapters; α keeps its ratio to it.
    #[arg(long)]
    rank: Option<usize>,
    /// Longest response that is sampled, in tokens.
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Settings and input files, such as the config.toml of an earlier run; flags override them.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// One setting beside the file, by its dotted key, as ppo.lr.peak=1e-4; it wins over the file.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Read all inputs, refuse what a run would refuse, and say what it would do: nothing is written.
    #[arg(long)]
    dry_run: bool,
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
    /// What becomes of a row that nothing can be learnt from: equal or empty replies, a missing field, too
    /// many tokens, no JSON [default: refuse]; sets `rows.on_bad_row`.
    #[arg(long, value_enum)]
    on_bad_row: Option<BadRow>,
    /// What becomes of a row that is longer than the context [default: refuse]; sets `rows.truncate`.
    #[arg(long, value_enum)]
    truncate: Option<Truncate>,
    /// Run folder [default: runs/PLACEMENT-SEED].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace an earlier run in that folder, when the new one is complete.
    #[arg(long)]
    overwrite: bool,
    /// Go on with a run that was stopped or killed, from its newest checkpoint and with its own settings.
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Steps from one checkpoint to the next, in every stage; 0 keeps none [default: 100, of PPO 10].
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<usize>,
    /// Checkpoints of a stage that are kept, the newest [default: 2].
    #[arg(long, value_name = "COUNT")]
    keep_checkpoints: Option<usize>,
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
    /// The settings. Files that the configuration names are taken where no flag names others.
    fn recipe(&mut self) -> Result<Recipe> {
        if let Some(config) = resumed::<Self>(&std::env::args_os().collect::<Vec<_>>())? {
            self.config = Some(config);
        }
        let mut config = match &self.config {
            Some(path) => RunConfig::load(path, &Recipe::default())?,
            None => RunConfig::default(),
        };
        if let Some(path) = &self.config {
            config.check_program(path, PROGRAM)?;
        }
        self.take_inputs(&config.inputs)?;
        if self.smoke {
            config.settings = config.settings.smoke();
        }
        self.check_set()?;
        let config = config.with(&self.set).map_err(|error| anyhow!("--set: {error}"))?;
        let mut recipe = config.settings;
        recipe.placement = self.placement.clone().unwrap_or(recipe.placement);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        if let Some(rank) = self.rank {
            recipe.lora.alpha *= rank as f64 / recipe.lora.rank as f64;
            recipe.lora.rank = rank;
        }
        let new = &mut recipe.generation.max_new_tokens;
        *new = self.max_new_tokens.unwrap_or(*new);
        recipe.memory_budget = self.memory_budget.clone().or(recipe.memory_budget);
        recipe.ppo.steps = self.steps.unwrap_or(recipe.ppo.steps);
        recipe.keep_checkpoints = self.keep_checkpoints.unwrap_or(recipe.keep_checkpoints);
        let Recipe { sft, hydra_sft, ppo, .. } = &mut recipe;
        for every in [
            &mut sft.checkpoint_every,
            &mut hydra_sft.training.checkpoint_every,
            &mut ppo.checkpoint_every,
        ] {
            *every = self.checkpoint_every.unwrap_or(*every);
        }
        recipe.rows.on_bad_row = self.on_bad_row.unwrap_or(recipe.rows.on_bad_row);
        recipe.rows.truncate = self.truncate.unwrap_or(recipe.rows.truncate);
        let valid = recipe.validate();
        valid.map_err(|error| flags::blame(error, self.config.as_deref(), &self.set))?;
        Ok(recipe)
    }

    /// Refuses settings that a flag was typed for too, and inputs, which have flags of their own.
    fn check_set(&self) -> Result<()> {
        let flags = [
            ("placement", "placement", self.placement.is_some()),
            ("seed", "seed", self.seed.is_some()),
            ("ppo.steps", "steps", self.steps.is_some()),
            ("lora.rank", "rank", self.rank.is_some()),
            ("generation.max_new_tokens", "max-new-tokens", self.max_new_tokens.is_some()),
            ("memory_budget", "memory-budget", self.memory_budget.is_some()),
            ("keep_checkpoints", "keep-checkpoints", self.keep_checkpoints.is_some()),
            ("sft.checkpoint_every", "checkpoint-every", self.checkpoint_every.is_some()),
            (
                "hydra_sft.training.checkpoint_every",
                "checkpoint-every",
                self.checkpoint_every.is_some(),
            ),
            ("ppo.checkpoint_every", "checkpoint-every", self.checkpoint_every.is_some()),
            ("rows.on_bad_row", "on-bad-row", self.on_bad_row.is_some()),
            ("rows.truncate", "truncate", self.truncate.is_some()),
        ];
        for Setting { key, .. } in &self.set {
            if let Some(name) = key.strip_prefix("inputs.") {
                bail!("--set {key}: files are named by flags: --{name}");
            }
            if let Some((_, flag, typed)) = flags.iter().find(|(of, ..)| of == key) {
                flags::contradiction(key, flag, *typed)?;
            }
        }
        Ok(())
    }

    fn take_inputs(&mut self, given: &Inputs) -> Result<()> {
        let files = [
            ("model", &mut self.model),
            ("prompts", &mut self.prompts),
            ("preferences", &mut self.preferences),
            ("demonstrations", &mut self.demonstrations),
        ];
        let config = self.config.clone().unwrap_or_default();
        let known = files.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
            bail!("{}: unknown input `{name}` (known: {})", config.display(), known.join(", "));
        }
        let mut typed = Vec::new();
        for (name, flag) in files {
            match flag {
                Some(_) => typed.push(name),
                None => *flag = given.get(name).map(|input| input.path.clone().into()),
            }
        }
        flags::check_inputs(&config, given, |name| typed.contains(&name))
    }

    fn inputs(&self) -> Result<Inputs> {
        inputs(&[
            ("model", self.model.as_deref()),
            ("prompts", self.prompts.as_deref()),
            ("preferences", self.preferences.as_deref()),
            ("demonstrations", self.demonstrations.as_deref()),
        ])
    }

    fn place(&self, recipe: &Recipe) -> Place {
        let existing = match self.resume {
            Some(_) => Overwrite::Continue,
            None => existing(self.overwrite),
        };
        Place {
            out: self.resume.clone().or_else(|| self.out.clone()),
            default: PathBuf::from(format!("runs/{}-{}", recipe.placement, recipe.seed)),
            existing,
            repeatable: self.model.is_none() && self.resume.is_none(),
        }
    }

    fn data(
        &self,
        dir: &Path,
        tokenizer: &TextTokenizer,
        context: usize,
        recipe: &Recipe,
    ) -> Result<RunData> {
        if self.model.is_none() {
            return RunData::of_task(tokenizer, context, recipe);
        }
        let files = UserFiles {
            prompts: self.prompts.clone(),
            preferences: self.preferences.clone(),
            demonstrations: self.demonstrations.clone(),
        };
        let template = ChatTemplate::from_dir(dir)?;
        RunData::of_files(&files, tokenizer, template.as_ref(), context, recipe)
    }
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    let mut recipe = args.recipe()?;
    retain_freed_memory();
    let stop = stop_on_ctrl_c()?;
    let device = device::open(&args.device)?;
    let dir = args.model.clone().unwrap_or_else(base_model_dir);
    let base = hydralign::models::load_checkpoint(&dir, &device)?;
    let tokenizer = load_tokenizer(&dir)?.with_rows(base.trunk.architecture().shape.vocab);
    recipe.generation.stop_tokens = tokenizer.eos_ids().to_vec();
    let context = base.trunk.architecture().context;
    let inputs = args.inputs()?;
    let data = args.data(&dir, &tokenizer, context, &recipe)?;
    let plan = match args.resume {
        Some(_) => None, // its settings are those that were planned
        None => plan_stages(&mut recipe, base.trunk.architecture(), &data, &device)?,
    };
    if let Some(table) = plan {
        say!("{}", table.to_text());
    }
    let config = RunConfig { program: Some(PROGRAM.into()), settings: &recipe, inputs };
    if args.dry_run {
        check_place(&args.place(&recipe), &config)?;
        let stages = dry_run::three_stages(&recipe, &data, base.trunk.architecture())?;
        return dry_run::tell(&stages, base.trunk.architecture(), &recipe.lora, &device);
    }
    let folder = begin(&args.place(&recipe), &config)?;
    let command = CommandLine::of_process(&args.device);
    record_command(folder.path(), args.resume.is_some(), command)?;
    data.rows.save(&folder)?;
    let checkpoints = stage_checkpoints(&folder, recipe.keep_checkpoints)?;
    let stages = Stages {
        recipe: &recipe,
        data: &data,
        stop: &stop,
        device: &device,
        tokenizer: &tokenizer,
        ledger: &Ledger::default(),
        checkpoints: Some(&checkpoints),
    };
    let meter = SharedMeter::new(memory::meter(&device));
    let run = Run {
        stages,
        folder: &folder,
        checkpoints: &checkpoints,
        stop: &stop,
        meter,
        base_dir: dir,
        // Every model is asked again, also in a run that goes on.
        samples: RefCell::new(SamplesFile::create(&folder.file("samples.jsonl"))?),
    };
    let began = Instant::now();
    let complete = run.go(base);
    drop(run);
    if let Err(error) = &complete {
        folder.set_status(&RunStatus::failed(format!("{error:#}")))?;
    }
    if !matches!(complete, Ok(true)) {
        write_report(folder.path());
    }
    if complete? {
        let path = folder.finish()?;
        write_report(&path);
        say!(
            "{:.0} s in all; {} holds config.toml, metrics.jsonl, plots.svg, memory.svg and the trained weights",
            began.elapsed().as_secs_f64(),
            path.display()
        );
    }
    Ok(())
}

/// The program's name in its configurations.
const PROGRAM: &str = "hydra_rlhf";
/// In their order.
const STAGES: [&str; 3] = ["sft", "hydra_sft", "ppo"];

struct Run<'a> {
    stages: Stages<'a>,
    folder: &'a RunFolder,
    checkpoints: &'a StageCheckpoints,
    stop: &'a StopFlag,
    meter: SharedMeter,
    base_dir: PathBuf,
    samples: RefCell<SamplesFile>,
}

impl Run<'_> {
    /// All stages. False if a signal came before the end of the last one.
    fn go(&self, base: Checkpoint) -> Result<bool> {
        let Stages { recipe, data, .. } = self.stages;
        say!(
            "placement {}, seed {}: {} demonstrations, {} pairs, {} prompts, {} held out\n",
            recipe.placement,
            recipe.seed,
            data.demonstrations.len(),
            data.preferences.len(),
            data.prompts.len(),
            data.held_out.len()
        );
        data.notes.iter().for_each(|text| note(text));
        self.hold_only(&base);
        let mut metrics = self.metrics()?.with_memory(self.meter.clone(), self.stages.ledger);
        let mut judged = Vec::new();
        let Some(start) = self.supervised(base, &mut metrics, &mut judged)? else {
            return Ok(false);
        };
        let (bank, complete) = self.reinforce(start, &mut metrics, &mut judged)?;
        metrics.finish()?;
        self.finish(&bank, &judged)?;
        Ok(complete)
    }

    /// The metrics, after the steps that checkpoints hold.
    fn metrics(&self) -> Result<MetricsFile> {
        let mut done = Vec::new();
        for stage in STAGES {
            done.push((stage, self.checkpoints.done(stage)?));
        }
        if let Some((stage, step)) = done.iter().rfind(|(_, step)| *step > 0) {
            say!("goes on in stage {stage}, after step {step}");
        }
        metrics_after(self.folder, &done)
    }

    /// SFT and Hydra-SFT; returns the checkpoint that PPO starts from, or none after a signal.
    fn supervised(
        &self,
        base: Checkpoint,
        metrics: &mut MetricsFile,
        judged: &mut Vec<(&'static str, Judged)>,
    ) -> Result<Option<Checkpoint>> {
        let mut progress = Progress::stderr(&["nll", "ranking_loss", "ranking_accuracy", "lr"], 10);
        let start = if self.stages.data.demonstrations.is_empty() {
            base
        } else {
            let trained = self.stages.train_sft(&base, &mut (&mut progress, &mut *metrics))?;
            progress.finish();
            drop(base);
            let Some(bank) = self.keep("sft", trained)? else { return Ok(None) };
            if !self.look("SFT", &bank, metrics, judged)? {
                return Ok(None);
            }
            bank.checkpoint(Role::Actor)?
        };
        self.hold_only(&start);
        let trained = self.stages.train_hydra_sft(&start, &mut (&mut progress, &mut *metrics))?;
        progress.finish();
        let Some(bank) = self.keep("hydra_sft", trained)? else { return Ok(None) };
        let seen = self.look("Hydra-SFT", &bank, metrics, judged)?;
        Ok(seen.then(|| bank.checkpoint(Role::Actor)).transpose()?)
    }

    /// Saves what a supervised stage has learnt. None if a signal ended it early.
    fn keep(&self, stage: &str, trained: Trained) -> Result<Option<ModelBank>> {
        let Trained { bank, progress, ended } = trained;
        let save = |dir: &Path| self.save(&bank, dir);
        let name = format!("models/{stage}");
        match keep_in(self.folder, &name, progress, ended, self.stop, save)? {
            Kept::Complete(_) => Ok(Some(bank)),
            Kept::Stopped(path) => {
                self.stopped(stage, progress)?;
                let shown = path.display();
                say!("stopped in stage {stage}: the weights {progress} are saved in {shown}");
                self.can_go_on();
                Ok(None)
            }
        }
    }

    fn can_go_on(&self) {
        say!("--resume {} goes on", self.folder.path().display());
    }

    /// Writes where a signal ended the run.
    fn stopped(&self, stage: &str, progress: Steps) -> Result<()> {
        let status = RunStatus::stopped().in_stage(stage).after(progress);
        Ok(self.folder.set_status(&status)?)
    }

    /// A whole model with its tokenizer, and its adapter beside the weights if it has one.
    fn save(&self, bank: &ModelBank, dir: &Path) -> Result<()> {
        let trained = bank.checkpoint(Role::Actor)?;
        let (trunk, head) = (&trained.trunk, trained.reward_head.as_ref());
        save_checkpoint(dir, trunk, head, &SaveOptions::default())?;
        copy_companions(&self.base_dir, dir)?;
        if let Some(adapter) = &trained.adapter {
            let base = std::path::absolute(&self.base_dir)?.display().to_string();
            save_adapter(&dir.join("adapter"), adapter, head, trunk.architecture(), &base)?;
        }
        Ok(())
    }

    /// How good a model is, unless a signal comes: then false.
    fn look(
        &self,
        name: &'static str,
        bank: &ModelBank,
        metrics: &mut MetricsFile,
        judged: &mut Vec<(&'static str, Judged)>,
    ) -> Result<bool> {
        match self.judge(bank, metrics) {
            Err(_) if self.stop.is_stopped() => {
                self.folder.set_status(&RunStatus::stopped().in_stage(name))?;
                say!(
                    "stopped after stage {name}: its weights are in {}",
                    self.folder.path().display()
                );
                Ok(false)
            }
            seen => {
                let seen = seen?;
                self.samples.borrow_mut().write(&self.samples_of(name, &seen)?)?;
                judged.push((name, seen));
                Ok(true)
            }
        }
    }

    /// The first response to each prompt, as text.
    fn samples_of(&self, name: &str, judged: &Judged) -> Result<Vec<Sample>> {
        let Stages { recipe, tokenizer, .. } = self.stages;
        let stage = name.to_lowercase().replace('-', "_");
        let metrics = read_metrics(&self.folder.file("metrics.jsonl"))?;
        let step = metrics.iter().rfind(|line| line.stage == stage).map_or(0, |line| line.step);
        let sample = |(index, episode): (usize, &Episode)| -> Result<Sample> {
            let gold = judged.gold.get(index).map(|gold| ("gold".to_owned(), Some(*gold)));
            Ok(Sample {
                stage: stage.clone(),
                step,
                prompt: tokenizer.decode(&episode.prompt, true)?,
                response: tokenizer.decode(&episode.response, true)?,
                scores: gold.into_iter().collect(),
            })
        };
        let all = judged.episodes.iter().enumerate();
        all.step_by(recipe.evaluation.samples).map(sample).collect()
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
        say!(
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
    ) -> Result<(ModelBank, bool)> {
        let architecture = start.trunk.architecture().clone();
        let (bank, beside) = self.build(start, metrics)?;
        let (recipe, placement) = (self.stages.recipe, bank.placement());
        let longest = self.stages.data.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let prediction = memory::prediction(placement, &architecture, recipe, longest)?;
        if let Some((phase, footprint)) = prediction.peak() {
            say!("predicted peak: {} in phase {phase}\n", format_bytes(footprint.total()));
        }
        let budget = recipe.memory_budget.as_deref().map(parse_bytes).transpose()?;
        let predicted = PredictedBytes::new("ppo", &prediction, budget);
        record_predicted(self.folder.path(), predicted)?;
        let parts = self.parts(placement, architecture, longest)?;
        let watch = match (&parts, budget) {
            (Some(parts), Some(bytes)) => {
                Some(BudgetWatch::new(parts.job(), bytes, self.meter.clone(), beside)?)
            }
            _ => None,
        };
        let mut clock = PhaseClock::new().with_memory(Above::new(self.meter.clone(), beside));
        let mut cleaner = PoolCleaner::new(self.stages.device);
        let mut progress = Progress::stderr(&["score", "gold", "kl", "clip_fraction"], 10);
        let trained = self.stages.ppo(
            bank,
            watch,
            &mut (&mut cleaner, &mut clock, &mut progress, &mut *metrics),
        );
        progress.finish();
        let Trained { bank, progress, ended } = trained?;
        let totals = clock.totals();
        clock.stop();
        let complete = self.save_ppo(&bank, progress, ended)?;
        let table = report::phases(&totals, &prediction)?;
        say!("{}", table.to_text());
        #[cfg(feature = "nvml")]
        say!("{}\n", memory::board());
        write_atomic(&self.folder.file("phases.md"), table.to_markdown().as_bytes())?;
        if !self.stop.is_stopped() {
            self.look("PPO", &bank, metrics, judged)?;
        }
        Ok((bank, complete))
    }

    /// Saves what PPO has learnt, however it ended. False if a signal came before its end.
    fn save_ppo(&self, bank: &ModelBank, progress: Steps, ended: Result<()>) -> Result<bool> {
        let complete = ended.is_ok() && progress.done == progress.steps;
        self.folder.result("adapters")?;
        report::save_trained(self.folder, bank, &self.base_name(complete)?)
            .with_context(|| format!("cannot save the weights {progress}"))?;
        let kept = self.folder.path().display();
        if let Err(error) = ended {
            let note = if is_numerical(&error) { "the numbers went bad" } else { "the run failed" };
            return Err(error.context(format!("{note}; the last good weights are in {kept}")));
        }
        if !complete {
            self.stopped("ppo", progress)?;
            say!("stopped in stage ppo: the weights {progress} are saved in {kept}");
            self.can_go_on();
        }
        Ok(complete)
    }

    /// Tables, plots and examples.
    fn finish(&self, bank: &ModelBank, judged: &[(&'static str, Judged)]) -> Result<()> {
        let has_gold = self.stages.data.has_gold;
        report::plot(self.folder, has_gold)?;
        let budget = self.stages.recipe.memory_budget.as_deref().map(parse_bytes).transpose()?;
        report::memory(self.folder, budget)?;
        let metrics = read_metrics(&self.folder.file("metrics.jsonl"))?;
        say!("{}", report::stages(&metrics)?.to_text());
        let models: Vec<(&str, &Judged)> = judged.iter().map(|(n, j)| (*n, j)).collect();
        if has_gold {
            let table = report::quality(&models)?;
            say!("{}", table.to_text());
            write_atomic(&self.folder.file("quality.md"), table.to_markdown().as_bytes())?;
        }
        let rows = self.stages.recipe.ppo.ppo.score_batch;
        for (name, judged) in models.iter().filter(|(_, judged)| !judged.episodes.is_empty()) {
            let score = mean_score(bank, &judged.episodes, rows)?;
            say!("{name}: mean reward-model score {score:.3} on held-out prompts");
        }
        if let [.., (_, before), ("PPO", after)] = models[..]
            && !after.episodes.is_empty()
        {
            let samples = self.stages.recipe.evaluation.samples;
            say!(
                "\nHeld-out prompts, before and after PPO:\n{}",
                report::examples(self.stages.tokenizer, before, after, samples, 5)?
            );
        }
        Ok(())
    }

    /// Bytes that the run's meter counts now.
    fn live(&self) -> u64 {
        self.meter.bytes_in_use().unwrap_or(0)
    }

    /// Tells the ledger that of all that is live only this checkpoint is the run's. The rest is
    /// beside it: data, tokenizer, earlier responses.
    fn hold_only(&self, checkpoint: &Checkpoint) {
        let (ledger, bytes) = (self.stages.ledger, checkpoint_bytes(checkpoint));
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

    /// What trained adapters name as their base: an absolute path, because what loads them looks from the
    /// folder that it is started in.
    fn base_name(&self, complete: bool) -> Result<String> {
        let folder = if complete { self.folder.target() } else { self.folder.path() };
        let base = match self.stages.recipe.hydra_sft.adapter {
            true => self.base_dir.clone(),
            false => folder.join("models/hydra_sft"),
        };
        Ok(std::path::absolute(base)?.display().to_string())
    }
}
