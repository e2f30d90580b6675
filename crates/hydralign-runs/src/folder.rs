use crate::RunError;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Present in every run folder, so that nothing else is ever emptied or continued.
const MARKER: &str = ".hydralign-run";
/// Ends the name of what is still being written.
const PARTIAL: &str = "partial";
/// Ends the name of a folder that is being replaced.
const PREVIOUS: &str = "previous";

/// What to do when the run folder already holds something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse.
    #[default]
    Refuse,
    /// Continue the run that is there; what it left half-written is removed.
    Continue,
    /// Delete what the run before wrote.
    Replace,
}

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder and its parents, or takes over one that a run wrote.
    ///
    /// # Errors
    /// [`RunError::NotEmpty`] under [`Overwrite::Refuse`], [`RunError::NotARunFolder`] if the
    /// folder holds files of somebody else, [`RunError::Io`].
    pub fn create(path: impl Into<PathBuf>, overwrite: Overwrite) -> Result<Self, RunError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(RunError::io("create", &path))?;
        let entries = entries(&path)?;
        if !entries.is_empty() {
            let ours = path.join(MARKER).is_file();
            match overwrite {
                Overwrite::Refuse => return Err(RunError::NotEmpty { path }),
                _ if !ours => return Err(RunError::NotARunFolder { path }),
                Overwrite::Continue => entries.iter().try_for_each(|e| tidy(e))?,
                // The marker goes last: a deletion that is cut short can be repeated.
                Overwrite::Replace => {
                    entries.iter().filter(|e| !e.ends_with(MARKER)).try_for_each(|e| remove(e))?
                }
            }
        }
        write_atomic(&path.join(MARKER), b"")?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of that name is, or would be.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// Writes a file so that its path holds the old content or the new, and never a part.
///
/// The bytes go to `name.partial` beside it, reach the disk, and take the name by a rename.
///
/// # Errors
/// [`RunError::Io`] with the path; nothing is left behind then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let partial = beside(path, PARTIAL);
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial); // the first error is the one to report
    }
    written.map_err(RunError::io("write", path))?;
    sync_parent(path)
}

/// Writes a folder so that its path holds the old content or the new, and never a part.
///
/// `build` fills `name.partial`, which takes the name when all its files have reached the disk.
/// A folder that is there is set aside as `name.previous` for the moment between two renames;
/// [`RunFolder::create`] with [`Overwrite::Continue`] brings it back if the power fails there.
///
/// # Errors
/// Whatever `build` returns, or [`RunError::Io`]; nothing half-written is left then.
pub fn write_dir_atomic<E: From<RunError>>(
    path: &Path,
    build: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let partial = beside(path, PARTIAL);
    remove(&partial)?;
    fs::create_dir(&partial).map_err(RunError::io("create", &partial))?;
    let written = build(&partial)
        .and_then(|()| Ok(sync_tree(&partial)?))
        .and_then(|()| Ok(replace_dir(&partial, path)?));
    if written.is_err() {
        let _ = remove(&partial); // the first error is the one to report
    }
    written
}

fn replace_dir(partial: &Path, path: &Path) -> Result<(), RunError> {
    let previous = beside(path, PREVIOUS);
    if path.exists() {
        remove(&previous)?;
        fs::rename(path, &previous).map_err(RunError::io("set aside", path))?;
    }
    fs::rename(partial, path).map_err(RunError::io("write", path))?;
    sync_parent(path)?;
    remove(&previous)
}

/// Removes what was half-written and brings back what was set aside.
fn tidy(entry: &Path) -> Result<(), RunError> {
    match entry.extension().and_then(|e| e.to_str()) {
        Some(PARTIAL) => remove(entry),
        Some(PREVIOUS) => {
            let original = entry.with_extension("");
            if original.exists() {
                remove(entry)
            } else {
                fs::rename(entry, &original).map_err(RunError::io("bring back", &original))
            }
        }
        _ if is_real_dir(entry) => entries(entry)?.iter().try_for_each(|e| tidy(e)),
        _ => Ok(()),
    }
}

/// A folder and not a link to one: what lies elsewhere is not this run's to tidy.
fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// `name` → `name.suffix`, in the same folder: a rename is atomic within one file system only.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .map_err(RunError::io("list", folder))
}

/// Removes a file, a link or a folder with all it holds; nothing there is fine.
fn remove(path: &Path) -> Result<(), RunError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
    .map_err(RunError::io("remove", path))
}

fn sync_tree(path: &Path) -> Result<(), RunError> {
    if path.is_dir() {
        entries(path)?.iter().try_for_each(|e| sync_tree(e))?;
    }
    sync(path)
}

fn sync_parent(path: &Path) -> Result<(), RunError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync(Path::new(".")),
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), RunError> {
    // Only Unix lets a folder be opened and synchronised.
    if cfg!(not(unix)) && path.is_dir() {
        return Ok(());
    }
    File::open(path).and_then(|f| f.sync_all()).map_err(RunError::io("synchronise", path))
}
