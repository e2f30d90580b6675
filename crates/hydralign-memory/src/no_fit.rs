use crate::{Footprint, PhaseName, format_bytes};
use serde::Serialize;
use std::fmt;

/// Another way to do the same, and what it needs at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What would be done.
    pub way: String,
    /// Bytes that it needs.
    pub bytes: u64,
}

/// Why no plan fits, and what would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoFit {
    /// The budget.
    pub budget: u64,
    /// The least that any plan needs, margin included.
    pub least: u64,
    /// The phase that needs it.
    pub phase: PhaseName,
    /// What it needs it for.
    pub needed: Footprint,
    /// Methods that would fit.
    pub ways: Vec<Way>,
}

impl fmt::Display for NoFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = format_bytes(self.least.saturating_sub(self.budget));
        let [budget, least] = [self.budget, self.least].map(format_bytes);
        writeln!(
            f,
            "a budget of {budget} is {missing} short: the least that any plan needs is {least}, in the {} phase",
            self.phase
        )?;
        write!(f, "{}", self.needed)?;
        match self.ways.is_empty() {
            true => write!(
                f,
                "\nno other method on this model fits; a smaller model, shorter sequences or a larger budget would"
            ),
            false => {
                write!(f, "\nwhat would fit:")?;
                let line = |f: &mut fmt::Formatter<'_>, w: &Way| {
                    write!(f, "\n  {:<40} {:>12}", w.way, format_bytes(w.bytes))
                };
                self.ways.iter().try_for_each(|w| line(f, w))
            }
        }
    }
}
