use super::{Outcome, Point};
use hydralign::runs::{Series, mean, sample_std};

/// All seeds of one variant.
pub(super) struct Summary<'a> {
    pub(super) variant: String,
    pub(super) runs: Vec<&'a Outcome>,
}

/// One summary per variant, in the order of the methods' catalogue and then of β.
pub(super) fn summaries(outcomes: &[Outcome]) -> Vec<Summary<'_>> {
    let mut all: Vec<Summary> = Vec::new();
    for outcome in outcomes {
        match all.iter_mut().find(|s| s.variant == outcome.variant) {
            Some(summary) => summary.runs.push(outcome),
            None => all.push(Summary { variant: outcome.variant.clone(), runs: vec![outcome] }),
        }
    }
    let place = |s: &Summary| {
        let known = crate::methods::known();
        known.iter().position(|(name, _)| *name == s.method()).unwrap_or(known.len())
    };
    all.sort_by_key(place);
    all
}

impl Summary<'_> {
    /// The method without its settings.
    pub(super) fn method(&self) -> &str {
        self.variant.split(':').next().unwrap_or_default()
    }

    /// β, where it was set.
    pub(super) fn beta(&self) -> Option<f64> {
        self.runs.first()?.beta
    }

    /// Mean and sample standard deviation over the seeds that have the value.
    pub(super) fn mean_std(&self, of: &dyn Fn(&Outcome) -> Option<f64>) -> (f64, Option<f64>) {
        let values: Vec<f64> = self.runs.iter().filter_map(|o| of(o)).collect();
        (mean(&values).unwrap_or(f64::NAN), sample_std(&values))
    }

    /// A line through the mean points over seeds: the k-th measurements belong together. A band
    /// needs an `x` that only grows.
    pub(super) fn series(
        &self,
        x: &impl Fn(&Point) -> f64,
        y: &impl Fn(&Point) -> f64,
        banded: bool,
    ) -> Option<Series> {
        let common = self.runs.iter().map(|o| o.points.len()).min()?;
        let at = |k: usize, of: &dyn Fn(&Point) -> f64| -> Vec<f64> {
            self.runs.iter().map(|o| of(&o.points[k])).collect()
        };
        let xs: Vec<f64> = (0..common).filter_map(|k| mean(&at(k, x))).collect();
        let ys: Vec<f64> = (0..common).filter_map(|k| mean(&at(k, y))).collect();
        let band = (0..common).map(|k| sample_std(&at(k, y)).unwrap_or(f64::NAN)).collect();
        let mut series = Series::new(&self.variant, xs, ys);
        series.band = banded.then_some(band);
        Some(series)
    }
}
