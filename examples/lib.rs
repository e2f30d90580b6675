//! Parts that the examples share: the shipped task, devices, and the stages of a run.

pub mod adapter;
pub mod budget;
pub mod comparison;
pub mod data;
pub mod device;
pub mod dry_run;
pub mod evaluate;
pub mod flags;
pub mod footprints;
pub mod held_out;
pub mod lab;
pub mod memory;
pub mod methods;
pub mod model;
pub mod output;
pub mod recipe;
pub mod report;
pub mod resume;
pub mod reward;
pub mod rows;
pub mod setup;
pub mod stages;
pub mod task;
pub mod tensor_spool;
pub mod watch;

use hydralign::runs::RunError;
use std::io::Write as _;
use std::path::PathBuf;

/// A reader that went away, as `| head` does, is no fault of the program's.
///
/// # Errors
/// Any other error.
pub fn unless_broken_pipe(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let broken = |e: &anyhow::Error| {
        let io = e.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        let json = e.chain().filter_map(|cause| cause.downcast_ref::<serde_json::Error>());
        let run = e.chain().filter_map(|cause| match cause.downcast_ref::<RunError>() {
            Some(RunError::Io { reason, .. }) => Some(reason),
            _ => None,
        });
        io.chain(run)
            .map(std::io::Error::kind)
            .chain(json.filter_map(serde_json::Error::io_error_kind))
            .any(|kind| kind == std::io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(e) if broken(&e) => Ok(()),
        other => other,
    }
}

/// Tells the user what is not to be seen from results. Where nobody listens nothing is lost.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// Prints a line. Where nobody reads it, as behind `| head`, or it cannot be written, the run goes on:
/// what it learns is worth more than what it says.
#[macro_export]
macro_rules! say {
    ($($what:tt)*) => { $crate::say_line(format_args!($($what)*)) };
}

/// What [`say!`] does.
pub fn say_line(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The folder of the shipped base model.
pub fn base_model_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/base")
}
