use crate::{Architecture, FamilyError, architecture};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of the largest configuration that is read; published ones have some thousands.
const MOST_BYTES: u64 = 16 << 20;

/// Reads the architecture of a model folder, or of a `config.json` itself, without its weights.
///
/// # Errors
/// Those of [`read_config`] and [`architecture()`]; each names the file.
pub fn read_architecture(path: &Path) -> Result<Architecture, FamilyError> {
    let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    architecture(&read_config(&path)?, &path)
}

/// Parses a `config.json` of up to 16 MiB, as Python does: `NaN` and infinities become the strings
/// of these names, which no reader of a number takes for one.
///
/// # Errors
/// [`FamilyError::Io`] if the file cannot be read, [`FamilyError::Malformed`] if it is too large
/// or not JSON.
pub fn read_config(path: &Path) -> Result<Value, FamilyError> {
    let malformed = |reason| FamilyError::Malformed { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| FamilyError::Io { path: path.to_owned(), error })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(malformed(format!("has more than {MOST_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|e| malformed(format!("not UTF-8: {e}")))?;
    let parsed = hydralign_json::parse(&text).map_err(|e| malformed(format!("not JSON: {e}")))?;
    Ok(parsed.spelled())
}
