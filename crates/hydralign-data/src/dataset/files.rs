use crate::DataError;
use std::path::PathBuf;

/// The files that paths and patterns name, each pattern's in alphabetical order, each once.
///
/// `*`, `?` and `[…]` match within a folder, `**` across folders. A path without them is taken
/// as it is.
///
/// # Errors
/// [`DataError::NoFiles`] for a pattern that matches nothing or is none, [`DataError::Io`].
pub fn find_files<S: AsRef<str>>(patterns: &[S]) -> Result<Vec<PathBuf>, DataError> {
    let mut found: Vec<PathBuf> = Vec::new();
    for pattern in patterns.iter().map(AsRef::as_ref) {
        let plain = PathBuf::from(pattern);
        let paths = match pattern.contains(['*', '?', '[']) && !plain.exists() {
            true => matching(pattern)?,
            false => vec![plain],
        };
        for path in paths {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let none = |reason: String| DataError::NoFiles { pattern: pattern.to_owned(), reason };
    let paths = glob::glob(pattern).map_err(|e| none(e.to_string()))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| {
            let path = e.path().to_owned();
            DataError::Io { path, error: e.into() }
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    match files.is_empty() {
        true => Err(none("matches no file".into())),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_in_order_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.jsonl", "a.jsonl", "c.txt", "sub/d.jsonl"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let at = |p: &str| dir.path().join(p).display().to_string();
        let names = |patterns: &[String]| -> Vec<String> {
            let paths = find_files(patterns).unwrap();
            paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&[at("*.jsonl")]), ["a.jsonl", "b.jsonl"]);
        assert_eq!(names(&[at("**/*.jsonl")]), ["a.jsonl", "b.jsonl", "d.jsonl"]);
        assert_eq!(names(&[at("c.txt"), at("[bc].*")]), ["c.txt", "b.jsonl"]);
        let error = find_files(&[at("*.parquet")]).unwrap_err().to_string();
        assert!(error.contains("*.parquet") && error.contains("no file"), "{error}");
    }
}
