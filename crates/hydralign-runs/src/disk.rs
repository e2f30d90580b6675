use crate::RunError;
use std::path::Path;

/// Bytes that this user may still write to the disk of a path, which need not be there yet; none where the system
/// does not tell.
pub fn free_space(path: &Path) -> Option<u64> {
    let here = Path::new(".");
    let there = path.ancestors().find(|p| p.exists()).filter(|p| !p.as_os_str().is_empty());
    free(there.unwrap_or(here))
}

#[cfg(unix)]
fn free(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// Looks whether there is room for what is to be written. Where the system does not tell, there is.
///
/// # Errors
/// [`RunError::DiskSpace`] with what it is, the bytes that it needs and those that are free.
pub fn require_space(path: &Path, needed: u64, what: &str) -> Result<(), RunError> {
    match free_space(path) {
        Some(free) if free < needed => {
            let (what, path) = (what.to_owned(), path.to_owned());
            Err(RunError::DiskSpace { what, path, needed, free })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet");
        if cfg!(unix) {
            let free = free_space(&path).unwrap();
            assert!(free > 0 && free_space(Path::new("nor this")).unwrap() > 0);
            let said = require_space(&path, u64::MAX, "two models").unwrap_err().to_string();
            assert!(said.starts_with("no room for two models on the disk of `"), "{said}");
            assert!(said.contains(&format!("yet`: {} bytes are needed, ", u64::MAX)), "{said}");
            assert!(said.ends_with(" are free"), "{said}");
        }
        assert!(require_space(&path, 1, "a byte").is_ok());
    }
}
