use super::axis::Axis;
use super::svg::{self, Anchor};
use super::{LinePlot, Series};
use crate::RunError;

/// Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow.
const COLORS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// Lines of a second, third … round through the colours.
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

const INK: &str = "fill=\"#1f2328\"";
const FAINT_INK: &str = "fill=\"#59636e\"";
const GRID: &str = "stroke=\"#e6e8eb\" stroke-width=\"1\"";
const AXIS: &str = "stroke=\"#8c959f\" stroke-width=\"1\"";

const LEFT: f64 = 74.0;
const RIGHT: f64 = 22.0;
const BOTTOM: f64 = 52.0;
const LEGEND_ROW: f64 = 20.0;

/// A plot with its scales, laid out in a rectangle.
pub(super) struct Panel<'a> {
    plot: &'a LinePlot,
    x: Axis,
    y: Axis,
    width: f64,
    height: f64,
    /// Upper edge of the data area, below title and legend.
    top: f64,
    /// Legend entries: where each begins.
    legend: Vec<(f64, f64)>,
}

impl<'a> Panel<'a> {
    pub(super) fn new(plot: &'a LinePlot, width: f64, height: f64) -> Result<Self, RunError> {
        plot.series.iter().try_for_each(Series::check)?;
        let empty = || RunError::EmptyPlot { title: plot.title.clone() };
        let xs: Vec<f64> = plot.series.iter().flat_map(|s| s.points().map(|p| p.0)).collect();
        let x = Axis::of_steps(&xs).ok_or_else(empty)?;
        let y = Axis::of_values(&heights(plot)).ok_or_else(empty)?;
        let legend = legend_places(plot, width);
        let top = legend.last().map_or(42.0, |(_, y)| y + 14.0);
        Ok(Self { plot, x, y, width, height, top, legend })
    }

    pub(super) fn draw(&self) -> String {
        let mut out = svg::text(
            LEFT,
            25.0,
            Anchor::Start,
            &format!("{INK} font-size=\"16\" font-weight=\"600\""),
            &self.plot.title,
        );
        out += &self.axes();
        // Bands first, so that none covers a line.
        for (index, series) in self.plot.series.iter().enumerate() {
            out += &self.bands(series, COLORS[index % COLORS.len()]);
        }
        for (index, series) in self.plot.series.iter().enumerate() {
            out += &self.lines(series, &stroke(index), COLORS[index % COLORS.len()]);
        }
        out + &self.legend()
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (self.width - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - self.y.share(y) * (bottom - self.top)
    }

    fn axes(&self) -> String {
        let (right, bottom) = (self.width - RIGHT, self.height - BOTTOM);
        let mut out = String::new();
        for (tick, label) in self.y.ticks() {
            let y = self.py(tick);
            out += &svg::line((LEFT, y), (right, y), GRID);
            out += &svg::text(LEFT - 8.0, y + 4.5, Anchor::End, FAINT_INK, &label);
        }
        for (tick, label) in self.x.ticks() {
            let x = self.px(tick);
            out += &svg::line((x, bottom), (x, bottom + 5.0), AXIS);
            out += &svg::text(x, bottom + 20.0, Anchor::Middle, FAINT_INK, &label);
        }
        out += &svg::line((LEFT, bottom), (right, bottom), AXIS);
        let middle = f64::midpoint(LEFT, right);
        out += &svg::text(middle, self.height - 12.0, Anchor::Middle, INK, &self.plot.x_label);
        let (x, y) = (18.0, f64::midpoint(self.top, bottom));
        let turned = format!("{INK} transform=\"rotate(-90 {x:.2} {y:.2})\"");
        out + &svg::text(x, y, Anchor::Middle, &turned, &self.plot.y_label)
    }

    fn bands(&self, series: &Series, color: &str) -> String {
        let banded = |index: usize| is_point(series, index) && series.band_at(index).is_some();
        let mut out = String::new();
        for stretch in stretches(series.x.len(), banded) {
            let at = |index: usize| (self.px(series.x[index]), series.band_at(index));
            let ends: Vec<_> = stretch.filter_map(|i| at(i).1.map(|b| (at(i).0, b))).collect();
            let lower = ends.iter().map(|&(x, (low, _))| (x, self.py(low)));
            let upper = ends.iter().rev().map(|&(x, (_, high))| (x, self.py(high)));
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
                stretch.map(|i| (self.px(series.x[i]), self.py(series.y[i]))).collect();
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
            out += &svg::text(x + 28.0, y, Anchor::Start, INK, &series.name);
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

/// Where each legend entry begins; a single series needs none.
fn legend_places(plot: &LinePlot, width: f64) -> Vec<(f64, f64)> {
    if plot.series.len() < 2 {
        return Vec::new();
    }
    let (mut x, mut y) = (LEFT, 48.0);
    let mut places = Vec::new();
    for series in &plot.series {
        let entry = 28.0 + svg::text_width(&series.name);
        if x > LEFT && x + entry > width - RIGHT {
            (x, y) = (LEFT, y + LEGEND_ROW);
        }
        places.push((x, y));
        x += entry + 18.0;
    }
    places
}

fn stroke(index: usize) -> String {
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
