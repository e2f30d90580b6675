//! Lays the curves of several runs over each other, in one page that opens without a network.
//!
//! ```text
//! cargo run --release --example compare_runs -- runs/dpo-0 runs/dpo-1
//! cargo run --release --example compare_runs -- runs/* --out compare.html
//! cargo run --release --example compare_runs -- runs/dpo-0 --reports
//! ```
use anyhow::{Result, ensure};
use clap::Parser;
use hydralign::report::{compare, write};
use hydralign::runs::write_atomic;
use hydralign_examples::say;
use std::path::{Path, PathBuf};

/// Compares runs by what their folders hold.
#[derive(Parser, Debug)]
struct Args {
    /// Run folders.
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "compare.html", conflicts_with = "reports")]
    out: PathBuf,
    /// Write the report of each run anew instead, such as of one that is under way or was killed.
    #[arg(long)]
    reports: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    for run in &args.runs {
        let known = ["config.toml", "metrics.jsonl"].iter().any(|name| run.join(name).is_file());
        ensure!(known, "{} is no run folder: it has no metrics.jsonl", run.display());
    }
    if args.reports {
        for run in &args.runs {
            say!("{}", write(run)?.display());
        }
        return Ok(());
    }
    let runs: Vec<&Path> = args.runs.iter().map(PathBuf::as_path).collect();
    write_atomic(&args.out, compare(&runs)?.as_bytes())?;
    say!("{}", args.out.display());
    Ok(())
}
