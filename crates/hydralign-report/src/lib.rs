#![doc = include_str!("../README.md")]

mod compare;
mod curves;
mod facts;
mod page;
mod phases;
mod run;
mod samples;

pub use compare::compare;

use hydralign_runs::{RunError, write_atomic};
use run::Run;
use std::path::{Path, PathBuf};

/// Name of a run's page in its folder.
pub const REPORT: &str = "report.html";

/// Writes `report.html` into a run's folder, and says where it is.
///
/// # Errors
/// As [`report`], and [`RunError::Io`] if it cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf, RunError> {
    let path = folder.join(REPORT);
    write_atomic(&path, report(folder)?.as_bytes())?;
    Ok(path)
}

/// The page about the run in a folder: HTML that needs no other file.
///
/// # Errors
/// A file of the run that cannot be read, or is not what such a file holds.
pub fn report(folder: &Path) -> Result<String, RunError> {
    let run = Run::read(folder)?;
    let sections = [
        facts::status(&run),
        curves::section(&run)?,
        samples::section(&run)?,
        phases::section(&run)?,
        facts::settings(&run),
        facts::commands(&run)?,
    ];
    Ok(page::page(&run.name, &sections.concat()))
}
