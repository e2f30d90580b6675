//! Tables, plots and saved models of a finished run.

use crate::evaluate::Judged;
use crate::memory::phase_name;
use anyhow::Result;
use hydralign::data::TextTokenizer;
use hydralign::memory::{Prediction, format_bytes};
use hydralign::models::{ModelBank, SaveOptions, save_adapter, save_checkpoint};
use hydralign::prelude::*;
use hydralign::runs::{
    Cell, MetricsLine, PhaseBytes, PhaseTotal, PlotSpec, RunFolder, Table, plot_memory,
    plot_metrics, read_metrics, write_atomic,
};

/// One row per model: gold score and win rates on the held-out prompts.
///
/// # Errors
/// Never in practice: rows have as many cells as there are headers.
pub fn quality(models: &[(&str, &Judged)]) -> Result<Table> {
    let mut table = Table::new(&[
        "model",
        "gold score",
        "wins over SFT",
        "wins over Hydra-SFT",
        "95 % interval",
    ]);
    for (name, judged) in models {
        let rate = |baseline: &str| {
            let base = models.iter().find(|(n, _)| *n == baseline).filter(|(n, _)| n != name)?;
            judged.against(base.1)
        };
        let percent = |r: f64| format!("{:.1} %", 100.0 * r);
        let cell = |text: Option<String>| Cell::text(text.unwrap_or_else(|| "–".into())).right();
        let over_joint = rate("Hydra-SFT");
        table.row([
            Cell::text(*name),
            cell(judged.mean_gold().map(|g| format!("{g:.2}"))),
            cell(rate("SFT").map(|w| percent(w.rate))),
            cell(over_joint.map(|w| percent(w.rate))),
            cell(over_joint.map(|w| format!("{} – {}", percent(w.low), percent(w.high)))),
        ])?;
    }
    Ok(table)
}

/// Seconds and peak bytes of each phase, beside the prediction.
///
/// # Errors
/// As [`quality`].
pub fn phases(totals: &[PhaseTotal], prediction: &Prediction) -> Result<Table> {
    let mut table =
        Table::new(&["phase", "times", "seconds", "CPU s", "predicted", "measured peak", "ratio"]);
    for total in totals {
        let predicted = phase_name(total.phase).and_then(|p| prediction.get(p)).map(|f| f.total());
        let bytes = |b: Option<u64>| Cell::text(b.map_or("–".into(), format_bytes)).right();
        let measured = total.peak_bytes.filter(|_| predicted.is_some());
        let ratio = measured.zip(predicted).map(|(m, p)| format!("{:.2}", m as f64 / p as f64));
        table.row([
            Cell::text(total.phase.name()),
            Cell::count(total.count as u64),
            Cell::number(total.wall.as_secs_f64(), 1),
            total.cpu.map_or(Cell::text("–").right(), |c| Cell::number(c.as_secs_f64(), 1)),
            bytes(predicted),
            bytes(measured),
            Cell::text(ratio.unwrap_or_else(|| "–".into())).right(),
        ])?;
    }
    Ok(table)
}

/// The last numbers of each stage, from its metrics.
///
/// # Errors
/// As [`quality`].
pub fn stages(metrics: &[MetricsLine]) -> Result<Table> {
    let columns = ["nll", "ranking_accuracy", "score", "gold", "kl", "entropy", "clip_fraction"];
    let mut table = Table::new(&[&["stage", "steps", "seconds"][..], &columns[..]].concat());
    let mut before = 0.0;
    for stage in ["sft", "hydra_sft", "ppo"] {
        let Some(last) = metrics.iter().rfind(|line| line.stage == stage) else { continue };
        let number = |name: &&str| match last.get(name) {
            Some(value) => Cell::number(value, 3),
            None => Cell::text("–").right(),
        };
        let head = [
            Cell::text(stage),
            Cell::count(last.step as u64),
            Cell::number(last.seconds - before, 1),
        ];
        table.row(head.into_iter().chain(columns.iter().map(number)))?;
        before = last.seconds;
    }
    Ok(table)
}

/// Prompts from all over the held-out set, answered before and after, as text.
///
/// # Errors
/// Tokens that do not decode.
pub fn examples(
    tokenizer: &TextTokenizer,
    before: &Judged,
    after: &Judged,
    samples: usize,
    count: usize,
) -> Result<String> {
    let mut text = String::new();
    let prompts = before.episodes.len() / samples.max(1);
    let count = count.min(prompts);
    for i in (0..count).map(|k| k * prompts / count * samples) {
        text += &format!("{}\n", tokenizer.decode(&before.episodes[i].prompt, true)?);
        for (name, judged) in [("before", before), ("after ", after)] {
            let response = tokenizer.decode(&judged.episodes[i].response, true)?;
            let gold = judged.gold.get(i).map_or(String::new(), |g| format!("{g:>6.2} "));
            text += &format!("  {name} {gold}{}\n", response.trim());
        }
    }
    Ok(text)
}

/// Draws reward, gold score and KL of the PPO stage.
///
/// # Errors
/// A metrics file that cannot be read or a plot that cannot be written.
pub fn plot(folder: &RunFolder, has_gold: bool) -> Result<()> {
    let metrics = read_metrics(&folder.file("metrics.jsonl"))?;
    if !metrics.iter().any(|line| line.stage == "ppo") {
        return Ok(());
    }
    let mut specs = vec![PlotSpec::new("Reward model", "score", "ppo", &["score"])];
    if has_gold {
        specs.push(PlotSpec::new("Gold", "gold score", "ppo", &["gold"]));
    }
    specs.push(PlotSpec::new("KL from the reference", "nats per response", "ppo", &["kl"]));
    let svg = plot_metrics(&metrics, &specs)?;
    write_atomic(&folder.file("plots.svg"), svg.as_bytes())?;
    Ok(())
}

/// Draws what each phase held, if the metrics say so: of all stages, and from where the models of
/// PPO are loaded.
///
/// # Errors
/// As [`plot`].
pub fn memory(folder: &RunFolder, budget: Option<u64>) -> Result<()> {
    let metrics = read_metrics(&folder.file("metrics.jsonl"))?;
    let all: Vec<PhaseBytes> = metrics.into_iter().flat_map(|line| line.memory).collect();
    let ppo = all.iter().position(|record| record.phase == Phase::Load).unwrap_or(all.len());
    for (name, records) in [("memory.svg", &all[..]), ("memory_ppo.svg", &all[ppo..])] {
        if !records.is_empty() {
            write_atomic(&folder.file(name), plot_memory(records, budget)?.as_bytes())?;
        }
    }
    Ok(())
}

/// Saves what was trained: adapters in PEFT layout, full models in Hugging Face layout.
///
/// # Errors
/// A file that cannot be written.
pub fn save_trained(folder: &RunFolder, bank: &ModelBank, base: &str) -> Result<()> {
    for role in [Role::Actor, Role::Critic] {
        let view = bank.placement().view(role)?;
        let head = bank.head(role);
        let Some(trunk) = bank.trunk(view.trunk) else { continue };
        match view.adapter.as_deref().and_then(|name| bank.adapter(name)) {
            Some(adapter) => {
                let dir = folder.file(format!("adapters/{role}"));
                save_adapter(&dir, adapter, head, trunk.architecture(), base)?;
            }
            None => save_checkpoint(
                &folder.file(format!("models/{role}")),
                trunk,
                head,
                &SaveOptions::default(),
            )?,
        }
    }
    Ok(())
}
