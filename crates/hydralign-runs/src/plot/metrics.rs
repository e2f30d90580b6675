use super::{LinePlot, Series};
use crate::{MetricsLine, RunError};

/// Which statistics of a metrics file to draw in one plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlotSpec {
    /// Title of the plot.
    pub title: String,
    /// Label of the vertical axis.
    pub y_label: String,
    /// The stage whose steps are the horizontal axis.
    pub stage: String,
    /// Names of the statistics, one line each.
    pub values: Vec<String>,
}

impl PlotSpec {
    /// Statistics of a stage under a title.
    pub fn new(title: &str, y_label: &str, stage: &str, values: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            y_label: y_label.to_owned(),
            stage: stage.to_owned(),
            values: values.iter().map(|&v| v.to_owned()).collect(),
        }
    }

    /// The plot of these metrics.
    ///
    /// Steps that do not report a statistic are skipped, as between evaluations; a value that
    /// was reported and is not finite interrupts the line.
    ///
    /// # Errors
    /// [`RunError::NoSuchMetric`] if no step of the stage reports one of the statistics.
    pub fn of(&self, metrics: &[MetricsLine]) -> Result<LinePlot, RunError> {
        let series = self.values.iter().map(|name| self.series(metrics, name));
        Ok(LinePlot {
            title: self.title.clone(),
            x_label: "step".to_owned(),
            y_label: self.y_label.clone(),
            series: series.collect::<Result<_, _>>()?,
        })
    }

    fn series(&self, metrics: &[MetricsLine], name: &str) -> Result<Series, RunError> {
        let of_stage = metrics.iter().filter(|line| line.stage == self.stage);
        let points = of_stage.filter_map(|line| Some((line.step as f64, line.get(name)?)));
        let (x, y): (Vec<f64>, Vec<f64>) = points.unzip();
        if x.is_empty() {
            return Err(RunError::NoSuchMetric { name: name.into(), stage: self.stage.clone() });
        }
        Ok(Series::new(name, x, y))
    }
}

/// The plots of a run as one SVG, a panel each.
///
/// # Errors
/// [`RunError::NoSuchMetric`], and [`RunError::EmptyPlot`] if a panel has no finite value.
pub fn plot_metrics(metrics: &[MetricsLine], specs: &[PlotSpec]) -> Result<String, RunError> {
    let plots: Vec<LinePlot> = specs.iter().map(|s| s.of(metrics)).collect::<Result<_, _>>()?;
    LinePlot::panels(&plots)
}
