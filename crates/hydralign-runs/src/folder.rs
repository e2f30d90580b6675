use crate::status::STATUS;
use crate::{RunError, RunState, RunStatus};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{Seek, Write};
use std::path::{Component, Path, PathBuf};

/// Present in every run folder, so that nothing else is ever replaced or continued. A run that is under way
/// holds a lock on it.
const MARKER: &str = ".hydralign-run";
/// In the marker of a folder in which nothing was kept yet: whoever comes next may have it.
const BEGUN: &str = "begun\n";
/// In the marker of a folder that holds a result.
const KEPT: &str = "kept\n";
/// Name of the folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// Ends the name of what is still being written.
const PARTIAL: &str = "partial";
/// Ends the name of a folder that is being replaced.
const PREVIOUS: &str = "hydralign-previous";
/// Ends the name of the folder in which a replacement grows.
const NEW: &str = "new";

/// What to do when the run folder already holds a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse.
    #[default]
    Refuse,
    /// Continue the run that is there; what it left half-written is removed.
    Continue,
    /// Write beside it, and take its place when the new result is complete.
    Replace,
}

/// The folder of one run, which no other run writes to while this value lives.
///
/// A run that may replace an earlier result grows in `name.new` and takes the name by [`RunFolder::finish`];
/// until then, and if it never comes to that, the earlier result stays where it is. A folder in which a run
/// began and kept nothing is in nobody's way.
///
/// Its [`RunStatus`] says how far the run came. Dropped before [`RunFolder::finish`], it says that the run
/// failed, unless it was told otherwise.
#[derive(Debug)]
pub struct RunFolder {
    target: PathBuf,
    path: PathBuf,
    marker: File,
    /// Of the run that this one goes on with.
    earlier: Option<RunStatus>,
}

/// Who may write to a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Anybody: it is not there, or empty, or a run began there and kept nothing.
    Free,
    /// It holds a run's result.
    Held,
    /// It holds what no run wrote.
    Foreign,
}

impl RunFolder {
    /// Makes the folder and its parents, or takes over one that a run wrote.
    ///
    /// # Errors
    /// [`RunError::NotEmpty`] under [`Overwrite::Refuse`] if it holds a result,
    /// [`RunError::NotARunFolder`] if it holds files of somebody else, [`RunError::Busy`] if another run is
    /// writing to it, [`RunError::Io`] if it cannot be written.
    pub fn create(path: impl Into<PathBuf>, overwrite: Overwrite) -> Result<Self, RunError> {
        let target = with_a_name(path.into())?;
        bring_back(&target)?;
        match (state(&target)?, overwrite) {
            (State::Foreign, _) => Err(RunError::NotARunFolder { path: target }),
            (State::Held, Overwrite::Refuse) => {
                drop(lock(&target)?); // a run under way is the better reason
                Err(RunError::NotEmpty { path: target })
            }
            (State::Held, Overwrite::Replace) => {
                drop(lock(&target)?);
                Self::beside(&target)
            }
            (State::Free, _) => Self::begin(&target, &target),
            (State::Held, Overwrite::Continue) => {
                let mut folder = Self::open(&target, &target)?;
                folder.earlier = Self::status_of(&target);
                entries(&target)?.iter().try_for_each(|e| tidy(e))?;
                folder.set_status(&RunStatus::new(RunState::Running))?;
                Ok(folder)
            }
        }
    }

    /// Refuses what [`RunFolder::create`] refuses by what is in the folder, and makes nothing.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub(crate) fn check(path: &Path, overwrite: Overwrite) -> Result<(), RunError> {
        let target = with_a_name(path.to_owned())?;
        let previous = beside(&target, PREVIOUS);
        let brought_back = !target.exists() && previous.join(MARKER).is_file();
        match (state(if brought_back { &previous } else { &target })?, overwrite) {
            (State::Foreign, _) => Err(RunError::NotARunFolder { path: target }),
            (State::Held, Overwrite::Refuse) => Err(RunError::NotEmpty { path: target }),
            _ => Ok(()),
        }
    }

    /// As [`RunFolder::create`], for a run that may be repeated: the first of `name`, `name-2`, `name-3` …
    /// that is free, or that holds the `same` run and is then replaced.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn create_numbered(
        path: impl Into<PathBuf>,
        same: impl Fn(&Path) -> bool,
    ) -> Result<Self, RunError> {
        let path = with_a_name(path.into())?;
        let mut number = 1u64;
        loop {
            let candidate = numbered(&path, number);
            bring_back(&candidate)?;
            let overwrite = match state(&candidate)? {
                State::Free => Some(Overwrite::Refuse),
                State::Held if same(&candidate) => Some(Overwrite::Replace),
                _ => None,
            };
            match overwrite.map(|overwrite| Self::create(&candidate, overwrite)) {
                None | Some(Err(RunError::Busy { .. })) => number += 1,
                Some(other) => return other,
            }
        }
    }

    /// A folder beside a result, of which nothing is touched.
    fn beside(target: &Path) -> Result<Self, RunError> {
        let mut number = 1u64;
        loop {
            let path = numbered(&beside(target, NEW), number);
            match state(&path)? {
                State::Free => match Self::begin(target, &path) {
                    Err(RunError::Busy { .. }) => number += 1,
                    other => return other,
                },
                _ => number += 1,
            }
        }
    }

    fn begin(target: &Path, path: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(path).map_err(RunError::io("create", path))?;
        let folder = Self::open(target, path)?;
        entries(path)?.iter().try_for_each(|e| tidy(e))?;
        folder.mark(BEGUN)?;
        folder.set_status(&RunStatus::new(RunState::Running))?;
        Ok(folder)
    }

    fn open(target: &Path, path: &Path) -> Result<Self, RunError> {
        let marker = lock(path)?;
        let (target, path) = (target.to_owned(), path.to_owned());
        Ok(Self { target, path, marker, earlier: None })
    }

    fn mark(&self, text: &str) -> Result<(), RunError> {
        let mut file = &self.marker;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(RunError::io("write", &self.path.join(MARKER)))
    }

    /// Where the run writes now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the result is after [`RunFolder::finish`].
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where a file of that name is, or would be.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Where a result of that name goes. From now on the folder holds something that is worth keeping.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn result(&self, name: impl AsRef<Path>) -> Result<PathBuf, RunError> {
        self.mark(KEPT)?;
        Ok(self.path.join(name))
    }

    /// Writes how far the run has come.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn set_status(&self, status: &RunStatus) -> Result<(), RunError> {
        let path = self.file(STATUS);
        let text = serde_json::to_vec_pretty(status).map_err(std::io::Error::from);
        write_atomic(&path, &text.map_err(RunError::io("write", &path))?)
    }

    /// Says that the run has not gone on, by a stop or a fault before its first step: a result that was complete
    /// stays so.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn set_not_begun(&self, status: &RunStatus) -> Result<(), RunError> {
        let complete = |earlier: &&RunStatus| earlier.state == RunState::Finished;
        self.set_status(self.earlier.as_ref().filter(complete).unwrap_or(status))
    }

    /// The status of the run that wrote to a folder, if it has left one.
    pub fn status_of(path: &Path) -> Option<RunStatus> {
        serde_json::from_slice(&fs::read(path.join(STATUS)).ok()?).ok()
    }

    /// The result is complete: it takes the place of the earlier one, if there is one. Returns where it is.
    ///
    /// # Errors
    /// [`RunError::Io`]; both results are there then.
    pub fn finish(self) -> Result<PathBuf, RunError> {
        self.set_status(&RunStatus::new(RunState::Finished))?;
        let (target, path) = (self.target.clone(), self.path.clone());
        drop(self);
        if path != target {
            sync_tree(&path)?;
            replace_dir(&path, &target)?;
        }
        Ok(target)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let running = Self::status_of(&self.path).is_none_or(|s| s.state == RunState::Running);
        if running {
            // Nobody is left who could be told of an error.
            let _ = self.set_status(&RunStatus::failed("an error ended the run"));
        }
    }
}

/// Locks a folder against other runs, where the file system has locks.
fn lock(path: &Path) -> Result<File, RunError> {
    let marker = path.join(MARKER);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&marker);
    let file = file.map_err(RunError::io("write", &marker))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RunError::Busy { path: path.to_owned() }),
        _ => Ok(file),
    }
}

/// A path whose last part is a name, so that another name can stand beside it, and no link: what is
/// replaced is the folder that a link leads to.
fn with_a_name(path: PathBuf) -> Result<PathBuf, RunError> {
    let mut plain: PathBuf = path.components().collect();
    // What stands behind `..` depends on links, and may be the folder itself.
    if let (true, Some(name), Some(parent)) =
        (plain.components().any(|c| c == Component::ParentDir), plain.file_name(), plain.parent())
    {
        plain = fs::canonicalize(parent).map_err(RunError::io("find", parent))?.join(name);
    }
    if plain.file_name().is_some() {
        return followed(plain, MOST_LINKS);
    }
    fs::canonicalize(&path).map_err(RunError::io("find", &path))
}

/// Links that are followed, as many as the system follows.
const MOST_LINKS: usize = 40;

/// Where links lead to in the end, also where nothing is yet.
fn followed(path: PathBuf, links: usize) -> Result<PathBuf, RunError> {
    match fs::read_link(&path) {
        Ok(_) if links == 0 => {
            fs::canonicalize(&path).map_err(RunError::io("follow the links of", &path))
        }
        Ok(to) => followed(path.parent().unwrap_or(Path::new("")).join(to), links - 1),
        Err(_) => Ok(path),
    }
}

/// Refuses a folder for a run that still needs something in it.
///
/// # Errors
/// [`RunError::InputInFolder`] with the first of `read` that lies in the folder, by whatever path or link;
/// of a folder among them, that holds for the files directly in it too.
pub(crate) fn spare(path: &Path, read: &[PathBuf]) -> Result<(), RunError> {
    let target = with_a_name(path.to_owned())?;
    // What a replacement sets aside under that name is removed.
    let lost: Vec<PathBuf> = [target.clone(), beside(&target, PREVIOUS)]
        .iter()
        .filter_map(|p| fs::canonicalize(p).ok())
        .collect();
    let lies_there =
        |p: &Path| fs::canonicalize(p).is_ok_and(|p| lost.iter().any(|l| p.starts_with(l)));
    for input in read {
        let files = if input.is_dir() { entries(input)? } else { Vec::new() };
        if lies_there(input) || files.iter().any(|file| lies_there(file)) {
            return Err(RunError::InputInFolder { path: path.to_owned(), input: input.clone() });
        }
    }
    Ok(())
}

fn state(path: &Path) -> Result<State, RunError> {
    if !path.exists() {
        return Ok(State::Free);
    }
    let marker = path.join(MARKER);
    let others = entries(path)?.iter().any(|entry| *entry != marker);
    Ok(match fs::read_to_string(&marker) {
        Ok(text) if text == BEGUN && path.join(CHECKPOINTS).exists() => State::Held,
        Ok(text) if text == BEGUN || !others => State::Free,
        Ok(_) => State::Held,
        Err(_) if others => State::Foreign,
        Err(_) => State::Free,
    })
}

/// A power failure between the two renames of a replacement has left the name empty.
fn bring_back(path: &Path) -> Result<(), RunError> {
    let previous = beside(path, PREVIOUS);
    match !path.exists() && previous.join(MARKER).is_file() {
        true => fs::rename(&previous, path).map_err(RunError::io("bring back", path)),
        false => Ok(()),
    }
}

/// `name`, `name-2`, `name-3` …
fn numbered(path: &Path, number: u64) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!("-{number}"));
    PathBuf::from(name)
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
/// `build` fills `name.partial`, beside it, which takes the name when all its files have reached the disk.
/// Behind a link, it is the folder that the link leads to, and the link stays.
/// A folder that is there is set aside as `name.hydralign-previous` for the moment between two renames;
/// [`RunFolder::create`] with [`Overwrite::Continue`] brings it back if the power fails there.
///
/// # Errors
/// Whatever `build` returns, or [`RunError::Io`]; nothing half-written is left then.
pub fn write_dir_atomic<E: From<RunError>>(
    path: &Path,
    build: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let path = &followed(path.to_owned(), MOST_LINKS)?;
    let partial = beside(path, PARTIAL);
    remove(&partial)?;
    fs::create_dir_all(&partial).map_err(RunError::io("create", &partial))?;
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
    if let Err(reason) = fs::rename(partial, path) {
        let _ = fs::rename(&previous, path); // the first error is the one to report
        return Err(RunError::io("write", path)(reason));
    }
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
