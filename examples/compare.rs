//! Methods of alignment compared on the shipped task: the same data, the same start, the same number
//! of sampled tokens and the same budget of operations, over seeds. Writes a report.
//!
//! ```text
//! cargo run --release --example compare -- --methods spr,dpo,grpo,ppo --seeds 0,1,2,3,4
//! ```
//!
//! Each method and seed is a file of its own, so a comparison may be cut and continued, or divided among
//! processes.
use anyhow::{Result, ensure};
use clap::Parser;
use hydralign::core::random::sub_seed;
use hydralign::kernels::{CountingAllocator, retain_freed_memory};
use hydralign::runs::{StopFlag, stop_on_ctrl_c};
use hydralign_examples::comparison::{Budget, Outcome, Variant, report, run};
use hydralign_examples::lab::Lab;
use hydralign_examples::methods::known;
use hydralign_examples::recipe::{Evaluation, Recipe};
use hydralign_examples::say;
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Compares methods of alignment.
#[derive(Parser, Debug)]
struct Args {
    /// Methods, by name; `NAME:beta=0.5` and `NAME:lr=1e-4` change a setting [default: all].
    #[arg(long, value_delimiter = ',')]
    methods: Vec<Variant>,
    /// Seeds to run.
    #[arg(long, value_delimiter = ',', default_values_t = [0u64, 1, 2, 3, 4])]
    seeds: Vec<u64>,
    /// Sampled tokens that each method may learn from.
    #[arg(long, default_value_t = 32_768, conflicts_with = "smoke")]
    tokens: usize,
    /// Operations that each method may spend, in units of 10⁹.
    #[arg(long, default_value_t = 1_000.0, conflicts_with = "smoke")]
    gflops: f64,
    /// Prompts of a round.
    #[arg(long, default_value_t = 16)]
    prompts: usize,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 4)]
    samples: usize,
    /// Folder of results and report.
    #[arg(long, value_name = "DIR", default_value = "runs/compare")]
    out: PathBuf,
    /// List the methods and leave.
    #[arg(long)]
    list: bool,
    /// Only write the report of what the folder holds.
    #[arg(long)]
    report: bool,
    /// A few seconds per method, to see that everything works.
    #[arg(long)]
    smoke: bool,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.list {
        known().iter().for_each(|(name, what)| say!("{name:<22} {what}"));
        return Ok(());
    }
    ensure!(args.prompts > 0 && args.samples > 0, "--prompts and --samples must be at least 1");
    ensure!(
        args.tokens > 0 && args.gflops.is_finite() && args.gflops > 0.0,
        "--tokens and --gflops must be above 0, and finite"
    );
    for variant in &args.methods {
        variant.check()?;
    }
    if args.methods.is_empty() {
        args.methods = known().iter().map(|(name, _)| Variant::plain(name)).collect();
    }
    retain_freed_memory();
    let stop = stop_on_ctrl_c()?;
    let results = args.out.join("results");
    std::fs::create_dir_all(&results)?;
    if !args.report {
        for &seed in &args.seeds {
            match run_seed(&args, seed, &stop) {
                Err(error) if stop.is_stopped() => say!("{error:#}"),
                other => other?,
            }
        }
    }
    let outcomes = Outcome::read_all(&results)?;
    ensure!(!outcomes.is_empty(), "{}: no results yet", results.display());
    if stop.is_stopped() {
        say!("stopped: {} keeps the results so far; the same command goes on", results.display());
    }
    report::write(&args.out, &outcomes)?;
    say!("{}", report::terminal(&outcomes)?);
    say!("report: {}", args.out.join("report.html").display());
    Ok(())
}

/// The methods of a seed that have no result yet.
fn run_seed(args: &Args, seed: u64, stop: &StopFlag) -> Result<()> {
    let results = args.out.join("results");
    let evaluation = Evaluation { samples: 2, ..Evaluation::default() };
    let mut recipe = Recipe { seed: sub_seed(seed, "compare"), evaluation, ..Recipe::default() };
    if args.smoke {
        recipe = recipe.smoke();
    }
    let (tokens, gflops) = if args.smoke { (512, 20.0) } else { (args.tokens, args.gflops) };
    let budget =
        Budget { tokens, flops: gflops * 1e9, prompts: args.prompts, samples: args.samples };
    let (lab, base) = Lab::planned(recipe, args.out.join(format!("lab-{seed}")), stop)?;
    let mut missing: Vec<&Variant> = Vec::new();
    for variant in &args.methods {
        let path = results.join(variant.file(seed));
        match path.exists() {
            true => check_same(&path, &budget, &lab)?,
            false => missing.push(variant),
        }
    }
    if missing.is_empty() || stop.is_stopped() {
        return Ok(());
    }
    lab.prepare(&base)?;
    drop(base);
    let baseline = lab.baseline()?;
    for variant in missing {
        if stop.is_stopped() {
            say!("interrupted: the same command goes on with {variant} of seed {seed}");
            return Ok(());
        }
        let Some(outcome) = run(variant, seed, &lab, &baseline, &budget)? else {
            say!("interrupted: the same command goes on with {variant} of seed {seed}");
            return Ok(());
        };
        say!("{}", outcome.line());
        outcome.save(&results.join(variant.file(seed)))?;
    }
    Ok(())
}

/// Refuses a result that this comparison would not have come to.
fn check_same(path: &Path, budget: &Budget, lab: &Lab) -> Result<()> {
    let (there, now) = (Outcome::read(path)?, budget.to_string());
    let path = path.display();
    ensure!(
        there.settings == now,
        "{path} was made with [{}], this comparison has [{now}]: give it another --out",
        there.settings
    );
    ensure!(
        there.made_of == lab.made_of(),
        "{path} was made with another version, recipe or base model: give this comparison another --out"
    );
    Ok(())
}
