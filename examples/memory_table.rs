//! What every method needs on every model: bytes by category, what fits on common cards, operations.
//!
//! ```text
//! cargo run --release --example memory_table
//! cargo run --release --example memory_table -- --models llama-2-7b --methods ppo,hydra_ppo,dpo_lora --phase
//! cargo run --release --example memory_table -- --config DIR --csv table.csv --svg table.svg
//! ```
//!
//! No weights are needed and nothing is run: the numbers are predictions for the CPU backend, whose rules
//! for what is copied, kept and freed other backends of burn share for the most part.

use anyhow::{Result, bail, ensure};
use clap::Parser;
use hydralign::families::PUBLISHED;
use hydralign::memory::Workload;
use hydralign::placement::LoraShape;
use hydralign::runs::write_atomic;
use hydralign_examples::footprints::{
    Question, csv, markdown, methods, models, number_format, svg,
};
use hydralign_examples::unless_broken_pipe;
use std::io::Write;
use std::path::PathBuf;

/// Predicts the memory of alignment methods on published models, or on the model of a config.json.
///
/// Writes a Markdown table to standard output. Gigabytes are 10^9 bytes, as graphics cards are sold.
#[derive(Parser, Debug)]
#[command(after_help = format!("Published models: {}.", PUBLISHED.join(", ")))]
struct Args {
    /// Published models by name; all without this and --config.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    models: Vec<String>,
    /// A model of your own: config.json, or the folder that it lies in.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Methods by name, with _lora for adapters over frozen weights; all that have names of their own without.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    methods: Vec<String>,
    /// Tokens of a prompt.
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    prompt: usize,
    /// Tokens of a response.
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    response: usize,
    /// Episodes, rows or pairs of an optimizer step.
    #[arg(long, default_value_t = 64, value_name = "ITEMS")]
    batch: usize,
    /// How many of them every pass takes: sampling, reading and learning.
    #[arg(long, default_value_t = 1, value_name = "ITEMS")]
    micro_batch: usize,
    /// Format of frozen weights, activations and cache: bf16, f16 or f32.
    #[arg(long, default_value = "bf16", value_name = "FORMAT")]
    dtype: String,
    /// Format of trained weights and their gradients.
    #[arg(long, default_value = "f32", value_name = "FORMAT")]
    trained_dtype: String,
    /// Rank of adapters.
    #[arg(long, default_value_t = 16, value_name = "RANK")]
    rank: usize,
    /// A row for every phase instead of the largest alone.
    #[arg(long)]
    phase: bool,
    /// Write bytes, operations and passes as comma-separated values.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the bytes as stacked bars.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    unless_broken_pipe(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let question = question(args)?;
    let (models, methods) =
        (models(&args.models, args.config.as_deref())?, methods(&args.methods)?);
    let answer = question.answer(&models, &methods)?;
    if let Some(path) = &args.csv {
        write_atomic(path, csv(&answer)?.as_bytes())?;
    }
    if let Some(path) = &args.svg {
        write_atomic(path, svg(&question, &answer)?.as_bytes())?;
    }
    std::io::stdout().write_all(markdown(&question, &answer)?.as_bytes())?;
    Ok(())
}

fn question(args: &Args) -> Result<Question> {
    for (option, value) in [
        ("--prompt", args.prompt),
        ("--response", args.response),
        ("--batch", args.batch),
        ("--micro-batch", args.micro_batch),
        ("--rank", args.rank),
    ] {
        ensure!(value > 0, "{option} must be at least 1");
    }
    let (batch, micro_batch) = (args.batch, args.micro_batch);
    if micro_batch > batch {
        bail!("--micro-batch is {micro_batch}, more than --batch, which is {batch}");
    }
    let dtype = number_format("--dtype", &args.dtype)?;
    let trained_dtype = number_format("--trained-dtype", &args.trained_dtype)?;
    let whole = Workload::uniform(batch, args.prompt, args.response).in_dtype(dtype);
    let workload = Workload { trained_dtype, ..whole.in_passes_of(micro_batch) };
    let lora = LoraShape { rank: args.rank, ..LoraShape::default() };
    Ok(Question { workload, lora, every_phase: args.phase })
}
