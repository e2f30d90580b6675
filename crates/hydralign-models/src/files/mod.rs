//! Folders of tensors: safetensors, alone or in shards, read piece by piece and written whole.

mod dtype;
mod folder;
mod place;
mod shard;
mod tensors;
mod write;

pub use dtype::StoredDtype;
pub(crate) use folder::Staging;
pub use folder::copy_companions;
pub(crate) use place::{check_adapter, check_model};
pub(crate) use tensors::TensorFiles;
pub use write::SaveOptions;
pub(crate) use write::{Named, write_tensors};

use crate::ModelError;
use std::path::Path;

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError + '_ {
    move |error| ModelError::Io { path: path.to_owned(), error }
}

pub(crate) fn malformed(path: &Path, reason: impl Into<String>) -> ModelError {
    ModelError::Malformed { path: path.to_owned(), reason: reason.into() }
}

/// Parses a JSON file as Python does; numbers that are not finite become strings.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, ModelError> {
    let bytes = std::fs::read(path).map_err(io(path))?;
    let text = String::from_utf8(bytes).map_err(|e| malformed(path, format!("not UTF-8: {e}")))?;
    let parsed = hydralign_json::parse(&text);
    Ok(parsed.map_err(|e| malformed(path, format!("not JSON: {e}")))?.spelled())
}
