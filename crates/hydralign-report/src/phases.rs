use crate::curves::seconds;
use crate::page::{scroll, section as part};
use crate::run::{Run, distinct};
use hydralign_memory::format_bytes;
use hydralign_runs::{Cell, PhaseBytes, RunError, Table, plot_memory};

/// What a phase of a stage took.
#[derive(Default)]
struct Taken {
    /// Steps that went through it.
    steps: usize,
    seconds: f64,
    peak: Option<u64>,
    predicted: Option<u64>,
}

/// Seconds and bytes of each phase, where the run has measured them, beside what was predicted.
pub(crate) fn section(run: &Run) -> Result<String, RunError> {
    let stages = run.stages();
    let rows: Vec<(&str, &str, Taken)> = (stages.iter())
        .flat_map(|stage| phases(run, stage).into_iter().map(move |phase| (*stage, phase)))
        .map(|(stage, phase)| (stage, phase, taken(run, stage, phase)))
        .collect();
    if rows.is_empty() {
        return Ok(String::new());
    }
    let bytes = rows.iter().any(|(.., taken)| taken.peak.or(taken.predicted).is_some());
    let mut body = scroll("seconds and bytes by phase", &table(&rows, bytes)?.to_html());
    let records: Vec<PhaseBytes> =
        run.metrics.iter().flat_map(|line| line.memory.clone()).collect();
    if records.iter().any(|record| record.peak > 0) {
        let budget = run.predicted.iter().filter_map(|predicted| predicted.budget).max();
        body += &scroll("memory over time", &plot_memory(&records, budget)?);
    }
    Ok(part(if bytes { "Time and memory by phase" } else { "Time by phase" }, &body))
}

fn phases<'a>(run: &'a Run, stage: &'a str) -> Vec<&'a str> {
    let timed =
        run.of_stage(stage).flat_map(|line| line.phase_seconds.iter().map(|(n, _)| n.as_str()));
    let predicted = run.predicted.iter().filter(move |predicted| predicted.stage == stage);
    let predicted = predicted.flat_map(|p| p.phases.iter().map(|(name, _)| name.as_str()));
    distinct(timed.chain(predicted))
}

fn taken(run: &Run, stage: &str, phase: &str) -> Taken {
    let mut taken = Taken::default();
    for line in run.of_stage(stage) {
        for (_, seconds) in line.phase_seconds.iter().filter(|(name, _)| name == phase) {
            taken.steps += 1;
            taken.seconds += seconds;
        }
        let peaks =
            line.memory.iter().filter(|record| record.phase.name() == phase).map(|r| r.peak);
        taken.peak = taken.peak.max(peaks.max());
    }
    let of_stage = run.predicted.iter().find(|predicted| predicted.stage == stage);
    let bytes = of_stage.and_then(|p| p.phases.iter().find(|(name, _)| name == phase));
    taken.predicted = bytes.map(|(_, bytes)| *bytes);
    taken
}

fn table(rows: &[(&str, &str, Taken)], bytes: bool) -> Result<Table, RunError> {
    let heads =
        ["phase", "time", "steps", "measured peak", "predicted peak", "measured / predicted"];
    let shown = if bytes { heads.len() } else { 3 };
    let mut table = Table::new(&heads[..shown]);
    for (stage, phase, taken) in rows {
        let size = |bytes: Option<u64>| Cell::text(bytes.map_or("–".into(), format_bytes)).right();
        let ratio = taken.peak.zip(taken.predicted.filter(|&bytes| bytes > 0));
        let ratio = ratio.map_or("–".to_owned(), |(m, p)| format!("{:.2}", m as f64 / p as f64));
        let time = if taken.steps > 0 { seconds(taken.seconds) } else { "–".into() };
        let cells = [
            Cell::text(format!("{stage}/{phase}")),
            Cell::text(time).right(),
            Cell::count(taken.steps as u64),
            size(taken.peak),
            size(taken.predicted),
            Cell::text(ratio).right(),
        ];
        table.row(cells.into_iter().take(shown))?;
    }
    Ok(table)
}
