//! Parts that the examples share: the shipped task, devices, and the stages of a run.

pub mod budget;
pub mod comparison;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod footprints;
pub mod lab;
pub mod memory;
pub mod methods;
pub mod model;
pub mod recipe;
pub mod report;
pub mod setup;
pub mod stages;
pub mod task;
pub mod tensor_spool;

use std::path::PathBuf;

/// A reader that went away, as `| head` does, is no fault of the program's.
///
/// # Errors
/// Any other error.
pub fn unless_broken_pipe(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let broken = |e: &anyhow::Error| {
        let io = e.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        let json = e.chain().filter_map(|cause| cause.downcast_ref::<serde_json::Error>());
        io.map(std::io::Error::kind)
            .chain(json.filter_map(serde_json::Error::io_error_kind))
            .any(|kind| kind == std::io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(e) if broken(&e) => Ok(()),
        other => other,
    }
}

/// The folder of the shipped base model.
pub fn base_model_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/base")
}
