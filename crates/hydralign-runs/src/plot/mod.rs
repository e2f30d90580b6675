mod axis;
mod bars;
mod frame;
mod memory;
mod metrics;
mod panel;
mod stack;
mod svg;

pub use bars::{Bar, BarGroup, StackedBars};
pub use memory::plot_memory;
pub use metrics::{PlotSpec, plot_metrics};

use crate::{RunError, mean, sample_std};
use panel::Panel;

/// A line of a plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Horizontal positions.
    pub x: Vec<f64>,
    /// Values; the line is interrupted where one is not finite.
    pub y: Vec<f64>,
    /// Half the height of a shaded band around the line, such as a standard deviation.
    pub band: Option<Vec<f64>>,
}

impl Series {
    /// A line without a band.
    pub fn new(name: impl Into<String>, x: Vec<f64>, y: Vec<f64>) -> Self {
        Self { name: name.into(), x, y, band: None }
    }

    /// The mean over several seeds with a band of ± one sample standard deviation.
    ///
    /// Each x that occurs has the mean of the runs that have a finite value there; seeds may
    /// stop early. A single run at an x has no band there.
    ///
    /// # Errors
    /// [`RunError::SeriesLength`] if a run's x and y differ in length.
    pub fn over_seeds(name: impl Into<String>, runs: &[Series]) -> Result<Self, RunError> {
        runs.iter().try_for_each(Series::check)?;
        let points =
            || runs.iter().flat_map(|run| run.x.iter().copied().zip(run.y.iter().copied()));
        let mut x: Vec<f64> = points().map(|(x, _)| x).filter(|x| x.is_finite()).collect();
        x.sort_by(f64::total_cmp);
        x.dedup();
        let at = |x: f64| -> Vec<f64> {
            points().filter(|&(px, y)| px == x && y.is_finite()).map(|(_, y)| y).collect()
        };
        let seeds: Vec<Vec<f64>> = x.iter().map(|&x| at(x)).collect();
        let y = seeds.iter().map(|ys| mean(ys).unwrap_or(f64::NAN)).collect();
        let band = seeds.iter().map(|ys| sample_std(ys).unwrap_or(f64::NAN)).collect();
        Ok(Self { name: name.into(), x, y, band: Some(band) })
    }

    fn check(&self) -> Result<(), RunError> {
        let band = self.band.as_ref().map_or(self.x.len(), Vec::len);
        for (what, got) in [("y values", self.y.len()), ("band values", band)] {
            if got != self.x.len() {
                let (series, expected) = (self.name.clone(), self.x.len());
                return Err(RunError::SeriesLength { series, what, expected, got });
            }
        }
        Ok(())
    }

    /// The finite points.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let points = self.x.iter().copied().zip(self.y.iter().copied());
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// Ends of the band, where there is one.
    fn band_at(&self, index: usize) -> Option<(f64, f64)> {
        let (y, half) = (self.y[index], *self.band.as_ref()?.get(index)?);
        let ends = (y - half, y + half);
        (ends.0.is_finite() && ends.1.is_finite()).then_some(ends)
    }
}

/// A line plot: title, labelled axes and one or more series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinePlot {
    /// Title above the plot.
    pub title: String,
    /// Label of the horizontal axis.
    pub x_label: String,
    /// Label of the vertical axis.
    pub y_label: String,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
}

impl LinePlot {
    /// The plot as a self-contained SVG on white, readable on light and dark pages.
    ///
    /// # Errors
    /// [`RunError::EmptyPlot`] without a finite point, [`RunError::SeriesLength`].
    pub fn to_svg(&self) -> Result<String, RunError> {
        let panel = Panel::new(self, 720.0, 420.0)?;
        Ok(svg::document(720.0, 420.0, &self.title, &panel.draw()))
    }

    /// As [`LinePlot::to_svg`] in a size of its own, without title and legend, for a page that writes them
    /// itself. Its colours are attributes, which the page's style may change.
    ///
    /// # Errors
    /// As [`LinePlot::to_svg`].
    pub fn to_figure(&self, width: f64, height: f64) -> Result<String, RunError> {
        let panel = Panel::untitled(self, width, height)?;
        Ok(svg::document(width, height, &self.title, &panel.draw()))
    }

    /// The line of the series of that index, as an entry of a legend has it.
    pub fn key(index: usize) -> String {
        let line = svg::line((0.0, 5.0), (24.0, 5.0), &panel::stroke(index));
        format!(
            "<svg width=\"24\" height=\"10\" viewBox=\"0 0 24 10\" aria-hidden=\"true\">{line}</svg>"
        )
    }

    /// Several plots as one SVG, up to three in a row.
    ///
    /// # Errors
    /// As [`LinePlot::to_svg`], of the first plot that cannot be drawn.
    pub fn panels(plots: &[LinePlot]) -> Result<String, RunError> {
        const WIDTH: f64 = 420.0;
        const HEIGHT: f64 = 330.0;
        let columns = plots.len().clamp(1, 3);
        let rows = plots.len().div_ceil(columns).max(1);
        let mut body = String::new();
        for (index, plot) in plots.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let (x, y) = (column as f64 * WIDTH, row as f64 * HEIGHT);
            let panel = Panel::new(plot, WIDTH, HEIGHT)?.draw();
            body += &format!("<g transform=\"translate({x},{y})\">\n{panel}</g>\n");
        }
        let titles: Vec<&str> = plots.iter().map(|plot| plot.title.as_str()).collect();
        let (width, height) = (columns as f64 * WIDTH, rows as f64 * HEIGHT);
        Ok(svg::document(width, height, &titles.join(", "), &body))
    }
}
