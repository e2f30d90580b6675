/// What Git leaves in the place of a large file that was not fetched: a few lines of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", Self::FOUND, Self::REMEDY)]
pub struct LfsPointer;

impl LfsPointer {
    /// What it is.
    pub const FOUND: &str = "a Git LFS pointer, not the file itself";
    /// What can be done.
    pub const REMEDY: &str = "fetch it with `git lfs pull`";
    /// What its file begins with (Git LFS specification, version 1).
    pub const HEAD: &[u8] = b"version https://git-lfs";

    /// Refuses what begins as a pointer does.
    ///
    /// # Errors
    /// The pointer.
    pub fn refuse(bytes: &[u8]) -> Result<(), Self> {
        if bytes.starts_with(Self::HEAD) { Err(Self) } else { Ok(()) }
    }
}
