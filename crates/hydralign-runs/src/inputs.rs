use crate::RunError;
use hydralign_core::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What a run was given, by the name of its flag: `model`, `reward`, `prompts` …
pub type Inputs = BTreeMap<String, Input>;

/// A file, a folder or a pattern that a run has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The path, as the user wrote it.
    pub path: String,
    /// SHA-256 over the names and contents of the files; of a folder, those directly in it. None in a
    /// configuration that was written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

impl Input {
    /// Reads through the files that a path stands for.
    ///
    /// # Errors
    /// [`RunError::Io`] naming the file.
    pub fn of(path: impl Into<String>, files: &[PathBuf]) -> Result<Self, RunError> {
        let mut fingerprint = Fingerprint::new("input");
        for path in files {
            match path.is_dir() {
                true => folder(path)?.iter().try_for_each(|f| add(&mut fingerprint, f))?,
                false => add(&mut fingerprint, path)?,
            }
        }
        Ok(Self { path: path.into(), fingerprint: Some(fingerprint.finish()) })
    }
}

/// The files directly in a folder, by name; hidden ones are no part of a model.
fn folder(path: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = fs::read_dir(path).map_err(RunError::io("list", path))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(RunError::io("list", path))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn add(fingerprint: &mut Fingerprint, path: &Path) -> Result<(), RunError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fingerprint.text(&name);
    let mut file = File::open(path).map_err(RunError::io("read", path))?;
    fingerprint.content(&mut file).map_err(RunError::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_follows_names_and_contents() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        let folder = || Input::of("m", &[root.path().to_owned()]).unwrap().fingerprint.unwrap();
        write("a", "x");
        let one = folder();
        assert_eq!(one.len(), 64);
        write(".hidden", "y");
        assert_eq!(folder(), one);
        write("a", "z");
        let other = folder();
        assert_ne!(other, one);
        fs::rename(root.path().join("a"), root.path().join("b")).unwrap();
        assert_ne!(folder(), other);
        let missing = Input::of("m", &[root.path().join("none")]).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
    }
}
