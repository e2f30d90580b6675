//! Loads a checkpoint folder once and prints seconds, CPU seconds and peak memory.
//!
//! `cargo bench -p hydralign-benches --bench load -- DIR [read|load]`. The read of the plain file
//! through a buffer is the speed of the disk (or of the page cache, if the file was read before):
//! `read` and `load` do only one of the two, so that both can start from a cold cache. The
//! counting allocator gives exact bytes, the process's high-water mark what a limit acts on.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use hydralign::burn::module::Module;
use hydralign::kernels::CountingAllocator;
use hydralign::memory::{Meter, ProcessMeter, format_bytes};
use hydralign::prelude::*;
use std::fs::File;
use std::io::{Read, Result};
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Bytes of all safetensors files of a folder, read through a buffer of 1 MiB.
fn read_plain(dir: &Path) -> Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => bytes += n as u64,
            }
        }
    }
    Ok(bytes)
}

/// User and system seconds of this process, from `/proc/self/stat` in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let tick = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (tick(11) + tick(12)) / 100.0
}

fn gib_per_second(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / f64::from(1 << 30)
}

fn read(dir: &Path) -> Result<()> {
    let clock = Instant::now();
    let bytes = read_plain(dir)?;
    let seconds = clock.elapsed().as_secs_f64();
    let speed = gib_per_second(bytes, seconds);
    println!("read   {} in {seconds:.2} s, {speed:.2} GiB/s", format_bytes(bytes));
    Ok(())
}

fn load(dir: &Path) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (live, cpu) = (CountingAllocator::live(), cpu_seconds());
    CountingAllocator::reset_peak();
    let clock = Instant::now();
    let checkpoint = load_checkpoint(dir, &Device::flex())?;
    let seconds = clock.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    let peak = CountingAllocator::peak() - live;
    let weights = 4 * checkpoint.trunk.num_params() as u64;
    let speed = gib_per_second(weights, seconds);
    println!(
        "load   {} of weights in {seconds:.2} s, {speed:.2} GiB/s, {cpu:.2} CPU s",
        format_bytes(weights)
    );
    let share = peak as f64 / weights as f64;
    println!("peak   {} counted, {share:.3} of the weights", format_bytes(peak));
    if let Some(high) = ProcessMeter.bytes_peak() {
        println!("       {} of the process", format_bytes(high));
    }
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let Some(dir) = args.first().map(Path::new) else {
        println!("load: no folder given, nothing measured");
        return Ok(());
    };
    let only = args.get(1).map(String::as_str);
    if only != Some("load") {
        read(dir)?;
    }
    if only != Some("read") {
        load(dir)?;
    }
    Ok(())
}
