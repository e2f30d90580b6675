use crate::curves::{figure, seconds, statistics};
use crate::facts::state;
use crate::page::{note, page, scroll, section};
use crate::run::{Run, distinct};
use hydralign_runs::{Cell, LinePlot, RunError, Table, escape, significant};
use std::collections::BTreeSet;
use std::path::Path;

/// Characters of a setting that are shown.
const LONGEST: usize = 60;

/// A page that lays the curves of several runs over each other: HTML that needs no other file.
///
/// # Errors
/// A file of a run that cannot be read, or is not what such a file holds.
pub fn compare(folders: &[&Path]) -> Result<String, RunError> {
    let mut runs: Vec<Run> =
        folders.iter().map(|folder| Run::read(folder)).collect::<Result<_, _>>()?;
    tell_apart(&mut runs, folders);
    let runs: Vec<&Run> = runs.iter().collect();
    let body = [overview(&runs)?, settings(&runs)?, last_values(&runs)?, curves(&runs)?];
    Ok(page("Runs compared", &body.concat()))
}

/// Runs of the same name are called by their paths.
fn tell_apart(runs: &mut [Run], folders: &[&Path]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, folder) in runs.iter_mut().zip(folders) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = folder.display().to_string();
        }
    }
}

/// How each run ended; the legend of the curves.
fn overview(runs: &[&Run]) -> Result<String, RunError> {
    let mut table = Table::new(&["run", "state", "steps", "time"]);
    for run in runs {
        let steps = (run.stages().into_iter()).filter_map(|stage| {
            let last = run.of_stage(stage).last()?;
            Some(format!("{stage} {}/{}", last.step, last.steps))
        });
        let time = run.metrics.last().map_or_else(|| "–".to_owned(), |line| seconds(line.seconds));
        table.row([
            Cell::text(&run.name),
            Cell::text(state(run)),
            Cell::text(steps.collect::<Vec<_>>().join(", ")),
            Cell::text(time).right(),
        ])?;
    }
    Ok(section("Runs", &scroll("runs", &table.to_html())))
}

/// The settings in which the runs differ.
fn settings(runs: &[&Run]) -> Result<String, RunError> {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs =
        |key: &&String| runs.iter().any(|run| run.settings.get(*key) != runs[0].settings.get(*key));
    let keys: Vec<&String> = keys.into_iter().filter(differs).collect();
    if keys.is_empty() {
        return Ok(section(
            "Settings that differ",
            &note("None: the runs have the same settings."),
        ));
    }
    let mut table = Table::new(&heads("setting", runs));
    for key in keys {
        let value = |run: &&Run| Cell::text(run.settings.get(key).map_or("–".into(), |v| short(v)));
        table.row(std::iter::once(Cell::text(key)).chain(runs.iter().map(value)))?;
    }
    Ok(section("Settings that differ", &scroll("settings that differ", &table.to_html())))
}

fn heads<'a>(first: &'a str, runs: &[&'a Run]) -> Vec<&'a str> {
    std::iter::once(first).chain(runs.iter().map(|run| run.name.as_str())).collect()
}

fn short(value: &str) -> String {
    match value.chars().count() > LONGEST {
        true => value.chars().take(LONGEST).chain(['…']).collect(),
        false => value.to_owned(),
    }
}

/// The last value of each statistic that is a finite number.
fn last_values(runs: &[&Run]) -> Result<String, RunError> {
    let mut table = Table::new(&heads("statistic", runs));
    let mut rows = 0;
    for stage in stages(runs) {
        for name in statistics(runs, stage) {
            let last = |run: &&Run| {
                let values = run.of_stage(stage).filter_map(|line| line.get(name));
                let last = values.filter(|value| value.is_finite()).last();
                Cell::text(last.map_or_else(|| "–".into(), significant)).right()
            };
            table.row(
                std::iter::once(Cell::text(format!("{stage}/{name}"))).chain(runs.iter().map(last)),
            )?;
            rows += 1;
        }
    }
    let body = if rows > 0 { scroll("last values", &table.to_html()) } else { String::new() };
    Ok(section("Last values", &body))
}

fn stages<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    distinct(runs.iter().flat_map(|run| run.stages()))
}

fn curves(runs: &[&Run]) -> Result<String, RunError> {
    let mut body = String::new();
    for stage in stages(runs) {
        body +=
            &format!("<h3>{}</h3>\n{}<div class=\"plots\">\n", escape(stage), legend(runs, stage));
        for name in statistics(runs, stage) {
            body += &figure(name, runs, stage)?;
        }
        body += "</div>\n";
    }
    Ok(section("Curves", &body))
}

/// The lines of the runs that report a stage.
fn legend(runs: &[&Run], stage: &str) -> String {
    let entry = |(index, run): (usize, &&Run)| {
        format!("<li>{}{}</li>\n", LinePlot::key(index), escape(&run.name))
    };
    let reports = |(_, run): &(usize, &&Run)| run.of_stage(stage).next().is_some();
    let entries: String = runs.iter().enumerate().filter(reports).map(entry).collect();
    format!("<ul class=\"legend\">\n{entries}</ul>\n")
}
