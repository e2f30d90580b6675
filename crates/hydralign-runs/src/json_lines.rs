use crate::{RunError, write_atomic};
use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::Path;

/// The lines of a file of JSON Lines, each with its bytes; a last line that a crash tore is left out.
///
/// # Errors
/// [`RunError::JsonLine`] with the number of a line that is whole and still not one of `what`.
pub(crate) fn json_lines<'a, T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
    text: &'a [u8],
) -> Result<Vec<(T, &'a [u8])>, RunError> {
    let mut lines = Vec::new();
    for (index, raw) in text.split_inclusive(|&b| b == b'\n').enumerate() {
        match serde_json::from_slice(raw) {
            Ok(line) => lines.push((line, raw.trim_ascii_end())),
            Err(_) if !raw.ends_with(b"\n") => {}
            Err(reason) => {
                return Err(RunError::JsonLine {
                    path: path.into(),
                    line: index + 1,
                    what,
                    reason,
                });
            }
        }
    }
    Ok(lines)
}

/// One line with its end.
pub(crate) fn json_line<T: Serialize>(line: &T) -> std::io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The values of a whole file; none if it is not there.
///
/// # Errors
/// [`RunError::Io`], and as [`json_lines`].
pub(crate) fn read_json_lines<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> Result<Vec<T>, RunError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(path).map_err(RunError::io("read", path))?;
    Ok(json_lines(path, what, &text)?.into_iter().map(|(line, _)| line).collect())
}

/// Writes a whole file.
///
/// # Errors
/// [`RunError::Io`].
pub(crate) fn write_json_lines<T: Serialize>(path: &Path, all: &[T]) -> Result<(), RunError> {
    let lines: Result<Vec<Vec<u8>>, _> = all.iter().map(json_line).collect();
    write_atomic(path, &lines.map_err(RunError::io("write", path))?.concat())
}
