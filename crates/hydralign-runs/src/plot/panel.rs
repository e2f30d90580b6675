use super::axis::Axis;
use super::frame::{Frame, INK, LEGEND_TEXT, below, legend_places, title};
use super::svg::{self, Anchor};
use super::{LinePlot, Series};
use crate::RunError;

/// Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow.
const COLORS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// Lines of a second, third … round through the colours.
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

/// Room above the data area without a title: half a line of text.
const UNTITLED_TOP: f64 = 12.0;

/// A line plot, laid out in a rectangle.
pub(super) struct Panel<'a> {
    plot: &'a LinePlot,
    frame: Frame,
    /// Legend entries: where each begins.
    legend: Vec<(f64, f64)>,
    titled: bool,
}

impl<'a> Panel<'a> {
    pub(super) fn new(plot: &'a LinePlot, width: f64, height: f64) -> Result<Self, RunError> {
        plot.series.iter().try_for_each(Series::check)?;
        let empty = || RunError::EmptyPlot { title: plot.title.clone() };
        let xs: Vec<f64> = plot.series.iter().flat_map(|s| s.points().map(|p| p.0)).collect();
        let x = Axis::of_steps(&xs).ok_or_else(empty)?;
        let y = Axis::of_values(&heights(plot)).ok_or_else(empty)?;
        // A single series needs no legend.
        let named = if plot.series.len() < 2 { &[] } else { &plot.series[..] };
        let legend = legend_places(named.iter().map(|s| s.name.as_str()), width);
        let frame = Frame { x, y, width, height, top: below(&legend) };
        Ok(Self { plot, frame, legend, titled: true })
    }

    /// Without title and legend: lines say what they are where a pointer rests on them.
    pub(super) fn untitled(plot: &'a LinePlot, width: f64, height: f64) -> Result<Self, RunError> {
        let panel = Self::new(plot, width, height)?;
        let frame = Frame { top: UNTITLED_TOP, ..panel.frame };
        Ok(Self { frame, legend: Vec::new(), titled: false, ..panel })
    }

    pub(super) fn draw(&self) -> String {
        let mut out = if self.titled { title(&self.plot.title) } else { String::new() };
        out += &self.frame.axes(&self.plot.x_label, &self.plot.y_label);
        // Bands first, so that none covers a line.
        for (index, series) in self.plot.series.iter().enumerate() {
            out += &self.bands(series, COLORS[index % COLORS.len()]);
        }
        for (index, series) in self.plot.series.iter().enumerate() {
            let lines = self.lines(series, &stroke(index), COLORS[index % COLORS.len()]);
            out += &if self.titled { lines } else { svg::named(&series.name, &lines) };
        }
        out + &self.legend()
    }

    fn bands(&self, series: &Series, color: &str) -> String {
        let banded = |index: usize| is_point(series, index) && series.band_at(index).is_some();
        let mut out = String::new();
        for stretch in stretches(series.x.len(), banded) {
            let at = |index: usize| (self.frame.px(series.x[index]), series.band_at(index));
            let ends: Vec<_> = stretch.filter_map(|i| at(i).1.map(|b| (at(i).0, b))).collect();
            let lower = ends.iter().map(|&(x, (low, _))| (x, self.frame.py(low)));
            let upper = ends.iter().rev().map(|&(x, (_, high))| (x, self.frame.py(high)));
            let outline: Vec<(f64, f64)> = lower.chain(upper).collect();
            // A stroke of its own keeps the band of a single point visible.
            let style = format!(
                "fill=\"{color}\" fill-opacity=\"0.16\" stroke=\"{color}\" stroke-opacity=\"0.16\""
            );
            out += &svg::polygon(&outline, &style);
        }
        out
    }

    fn lines(&self, series: &Series, stroke: &str, color: &str) -> String {
        let mut out = String::new();
        for stretch in stretches(series.x.len(), |index| is_point(series, index)) {
            let points: Vec<(f64, f64)> =
                stretch.map(|i| (self.frame.px(series.x[i]), self.frame.py(series.y[i]))).collect();
            out += &match points[..] {
                [point] => svg::dot(point, &format!("fill=\"{color}\"")),
                _ => svg::polyline(&points, stroke),
            };
        }
        out
    }

    fn legend(&self) -> String {
        let mut out = String::new();
        for (index, (&(x, y), series)) in self.legend.iter().zip(&self.plot.series).enumerate() {
            out += &svg::line((x, y - 4.5), (x + 22.0, y - 4.5), &stroke(index));
            out += &svg::text(x + LEGEND_TEXT, y, Anchor::Start, INK, &series.name);
        }
        out
    }
}

/// All heights that must be visible: points and the ends of bands.
fn heights(plot: &LinePlot) -> Vec<f64> {
    let of_series = |series: &Series| -> Vec<f64> {
        let shown = (0..series.x.len()).filter(|&i| is_point(series, i));
        let bands = shown.filter_map(|i| series.band_at(i)).flat_map(|(low, high)| [low, high]);
        series.points().map(|(_, y)| y).chain(bands).collect()
    };
    plot.series.iter().flat_map(of_series).collect()
}

pub(super) fn stroke(index: usize) -> String {
    let color = COLORS[index % COLORS.len()];
    let dash = DASHES[index / COLORS.len() % DASHES.len()];
    let dash =
        if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
    format!("stroke=\"{color}\" stroke-width=\"2\" stroke-linejoin=\"round\"{dash}")
}

fn is_point(series: &Series, index: usize) -> bool {
    series.x[index].is_finite() && series.y[index].is_finite()
}

/// The longest runs of indices below `len` that hold.
fn stretches(len: usize, holds: impl Fn(usize) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for index in (0..len).filter(|&index| holds(index)) {
        match found.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => found.push(index..index + 1),
        }
    }
    found
}
