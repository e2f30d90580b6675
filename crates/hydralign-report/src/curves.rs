use crate::page::section as part;
use crate::run::{Run, distinct};
use hydralign_runs::{LinePlot, PlotSpec, RunError, Series, duration, escape, significant};
use std::time::Duration;

/// Size of a plot, and of its text: it is shown at about this size on a phone and on a desk.
const SIZE: (f64, f64) = (400.0, 240.0);
/// Points of a curve beyond which it is thinned.
const MOST_POINTS: usize = 800;

/// One small plot for each statistic of each stage.
pub(crate) fn section(run: &Run) -> Result<String, RunError> {
    let mut body = String::new();
    for stage in run.stages() {
        body += &format!("<h3>{}</h3>\n<div class=\"plots\">\n", escape(stage));
        for name in statistics(&[run], stage) {
            body += &figure(name, &[run], stage)?;
        }
        body += "</div>\n";
    }
    Ok(part("Curves", &body))
}

/// Names of the statistics that runs report of a stage, in the order of their reports.
pub(crate) fn statistics<'a>(runs: &[&'a Run], stage: &'a str) -> Vec<&'a str> {
    let lines = runs.iter().flat_map(|run| run.of_stage(stage));
    distinct(lines.flat_map(|line| line.values.iter().map(|(name, _)| name.as_str())))
}

/// A statistic of a stage over its steps, a line a run.
pub(crate) fn figure(name: &str, runs: &[&Run], stage: &str) -> Result<String, RunError> {
    let spec = PlotSpec::new(name, "", stage, &[name]);
    let mut plot = LinePlot {
        title: format!("{name} by step"),
        x_label: "step".into(),
        ..LinePlot::default()
    };
    for run in runs {
        // A run that does not report it keeps its colour: its line is empty.
        let series = spec.of(&run.metrics).map_or_else(|_| Vec::new(), |plot| plot.series);
        let mut series = series.into_iter().next().unwrap_or_default();
        series.name.clone_from(&run.name);
        plot.series.push(series);
    }
    let caption = match &plot.series[..] {
        [one] => ends(one),
        _ => String::new(),
    };
    plot.series.iter_mut().for_each(thin);
    let head = format!("<figcaption><b>{}</b>{caption}</figcaption>", escape(name));
    let drawn = plot
        .series
        .iter()
        .any(|s| s.x.iter().zip(&s.y).any(|(x, y)| x.is_finite() && y.is_finite()));
    let svg = if drawn { plot.to_figure(SIZE.0, SIZE.1)? } else { String::new() };
    Ok(format!("<figure>\n{head}\n{svg}</figure>\n"))
}

/// First and last value, and how many are not finite.
fn ends(series: &Series) -> String {
    let finite: Vec<f64> = series.y.iter().copied().filter(|y| y.is_finite()).collect();
    let lost = series.y.len() - finite.len();
    let ends = match &finite[..] {
        [] => String::new(),
        [one] => format!(" {}", significant(*one)),
        [first, .., last] => format!(" {} → {}", significant(*first), significant(*last)),
    };
    let lost = match lost {
        0 => String::new(),
        1 => ", not finite at 1 step".to_owned(),
        lost => format!(", not finite at {lost} steps"),
    };
    format!("<span>{ends}{lost}</span>")
}

/// The least and the greatest value of each stretch of steps, where there are more points than can be seen.
///
/// A stretch with a value that is not finite keeps it, so that the line is interrupted there.
fn thin(series: &mut Series) {
    let points = series.y.len();
    if points <= MOST_POINTS {
        return;
    }
    let stretches = MOST_POINTS / 2;
    let mut kept = Vec::new();
    for stretch in 0..stretches {
        let range = stretch * points / stretches..(stretch + 1) * points / stretches;
        let by_value = |a: &usize, b: &usize| series.y[*a].total_cmp(&series.y[*b]);
        let lost = range.clone().find(|&i| !series.y[i].is_finite());
        let finite = || range.clone().filter(|&i| series.y[i].is_finite());
        let mut picked: Vec<usize> = [finite().min_by(by_value), finite().max_by(by_value), lost]
            .into_iter()
            .flatten()
            .collect();
        picked.sort_unstable();
        picked.dedup();
        kept.extend(picked);
    }
    series.x = kept.iter().map(|&i| series.x[i]).collect();
    series.y = kept.iter().map(|&i| series.y[i]).collect();
}

/// A time as people say it.
pub(crate) fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "–".to_owned(), duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_line_keeps_its_extremes_its_ends_and_its_gaps() {
        let x: Vec<f64> = (0..10_000).map(f64::from).collect();
        let mut y: Vec<f64> = x.iter().map(|x| (x * 0.01).sin()).collect();
        (y[1234], y[5678], y[4321]) = (9.0, -9.0, f64::NAN);
        let mut series = Series::new("a", x, y.clone());
        thin(&mut series);
        assert!(series.y.len() <= MOST_POINTS + 1, "{}", series.y.len());
        assert!(series.x.is_sorted());
        let at = |x: f64| series.x.iter().position(|&there| there == x).map(|i| series.y[i]);
        assert_eq!((at(1234.0), at(5678.0)), (Some(9.0), Some(-9.0)));
        assert!(at(4321.0).unwrap().is_nan());
        assert!(series.x.iter().zip(&series.y).all(|(&x, v)| v.is_nan() || *v == y[x as usize]));
        let few = Series::new("a", vec![1.0, 2.0], vec![f64::NAN, 1.0]);
        let mut same = few.clone();
        thin(&mut same);
        assert_eq!(same.x, few.x);
    }
}
