//! A comparison of methods: what is run, what is kept of it, and the report.

mod outcome;
pub mod report;
mod run;
mod summary;
mod variant;

pub use outcome::{Outcome, PhaseRow, Point};
pub use run::{Budget, run};
pub use variant::Variant;
