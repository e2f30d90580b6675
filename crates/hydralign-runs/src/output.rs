use crate::RunError;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file of results that takes its name when it is complete: until then, and if it never is, the path
/// holds what it held before.
///
/// Bytes go to `name.partial` beside it, which one process at a time writes, and which is there after a failure
/// if anything was written. A symbolic link stays, and the file that it leads to is replaced. Devices and pipes are written through,
/// and so is a file in a folder that takes no new files. New files have the usual permissions, replaced
/// ones their own.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    partial: Option<PathBuf>,
    file: BufWriter<File>,
}

impl OutputFile {
    /// Begins a file that is none of `others`, such as the inputs, by whatever path or link, and that only
    /// replaces a file with anything in it where that is asked for.
    ///
    /// # Errors
    /// [`RunError::SameFile`]; [`RunError::Exists`], also for what a failure has left; [`RunError::Busy`] if
    /// another process writes it; [`RunError::Io`] if it cannot be written.
    pub fn create<P: AsRef<Path>>(
        path: &Path,
        others: &[P],
        replace: bool,
    ) -> Result<Self, RunError> {
        if let Some(other) = others.iter().map(AsRef::as_ref).find(|other| same(path, other)) {
            let (path, other) = (path.to_owned(), other.to_owned());
            return Err(RunError::SameFile { path, other });
        }
        // A path that does not lead anywhere yet may still be a link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let kind = fs::symlink_metadata(&target).ok();
        if kind.as_ref().is_some_and(|kind| !kind.is_file()) {
            return Self::through(path);
        }
        if !replace && kind.as_ref().is_some_and(|kind| kind.len() > 0) {
            return Err(RunError::Exists { path: path.to_owned() });
        }
        let partial = with_suffix(&target, ".partial");
        if let Some(other) = others.iter().map(AsRef::as_ref).find(|other| same(&partial, other)) {
            return Err(RunError::SameFile { path: partial, other: other.to_owned() });
        }
        if !replace && fs::metadata(&partial).is_ok_and(|left| left.len() > 0) {
            return Err(RunError::Exists { path: partial });
        }
        match File::options().write(true).create(true).truncate(false).open(&partial) {
            Ok(file) => {
                // The lock goes with the file; whoever else writes there has it.
                if let Err(TryLockError::WouldBlock) = file.try_lock() {
                    return Err(RunError::Busy { path: partial });
                }
                file.set_len(0).map_err(RunError::io("write", &partial))?;
                if let Some(kind) = kind {
                    let kept = file.set_permissions(kind.permissions());
                    kept.map_err(RunError::io("write", &partial))?;
                }
                let file = BufWriter::new(file);
                Ok(Self { path: target, partial: Some(partial), file })
            }
            Err(_) if kind.is_some() => Self::through(path),
            Err(error) => Err(RunError::io("write", path)(error)),
        }
    }

    fn through(path: &Path) -> Result<Self, RunError> {
        let file = File::create(path).map_err(RunError::io("write", path))?;
        Ok(Self { path: path.to_owned(), partial: None, file: BufWriter::new(file) })
    }

    /// Where the bytes are until the file is complete; none if they are written through.
    pub fn partial(&self) -> Option<&Path> {
        self.partial.as_deref()
    }

    /// The file is complete and takes its name.
    ///
    /// # Errors
    /// [`RunError::Io`]: a full disk, for one. What was written is then in [`OutputFile::partial`].
    pub fn finish(mut self) -> Result<(), RunError> {
        self.file.flush().map_err(RunError::io("write", &self.path))?;
        if let Some(partial) = &self.partial {
            let synced = self.file.get_ref().sync_all();
            let named = synced.and_then(|()| fs::rename(partial, &self.path));
            named.map_err(RunError::io("write", &self.path))?;
            self.partial = None;
        }
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        let flushed = self.file.flush();
        let empty = self.file.get_ref().metadata().is_ok_and(|meta| meta.len() == 0);
        if let Some(partial) = self.partial.take().filter(|_| empty || flushed.is_err()) {
            let _ = fs::remove_file(partial); // the failure that led here is the one to report
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether two paths lead to one file, which writing to one of them would take from the other. Devices
/// and pipes may be both.
fn same(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), _) if !a.is_file() => false,
        #[cfg(unix)]
        (Ok(a), Ok(b)) => {
            use std::os::unix::fs::MetadataExt;
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        }
        _ => resolved(a).is_some_and(|path| resolved(b) == Some(path)),
    }
}

/// The path without links, also of a file that is yet to be made.
fn resolved(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().or_else(|| {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(fs::canonicalize(parent).ok()?.join(path.file_name()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&Path; 0] = [];

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "old").unwrap();
        let error = OutputFile::create(&path, &NONE, false).unwrap_err();
        assert!(matches!(error, RunError::Exists { .. }), "{error}");
        drop(OutputFile::create(&path, &NONE, true).unwrap());
        assert_eq!(names(dir.path()), ["out"], "nothing was written");
        let mut file = OutputFile::create(&path, &NONE, true).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_to_string(dir.path().join("out.partial")).unwrap(), "half");
        let mut file = OutputFile::create(&path, &NONE, true).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_file_with_nothing_in_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "").unwrap();
        OutputFile::create(&path, &NONE, false).unwrap().finish().unwrap();
        OutputFile::create(Path::new("/dev/null"), &NONE, false).unwrap().finish().unwrap();
    }

    /// What a stop has left is a result too, and may be an input.
    #[test]
    fn what_is_partial_is_neither_lost_nor_shared() {
        let dir = tempfile::tempdir().unwrap();
        let (path, partial) = (dir.path().join("out"), dir.path().join("out.partial"));
        fs::write(&partial, "half").unwrap();
        let error = OutputFile::create(&path, &NONE, false).unwrap_err();
        assert!(matches!(&error, RunError::Exists { path } if *path == partial), "{error}");
        let error = OutputFile::create(&path, &[&partial], true).unwrap_err();
        assert!(matches!(error, RunError::SameFile { .. }), "{error}");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "half");
        let mut first = OutputFile::create(&path, &NONE, true).unwrap();
        for replace in [false, true] {
            first.write_all(b"new").unwrap();
            first.flush().unwrap();
            let error = OutputFile::create(&path, &NONE, replace).unwrap_err();
            let busy = matches!(error, RunError::Busy { .. } | RunError::Exists { .. });
            assert!(busy, "{error}");
        }
        first.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "newnew");
    }

    #[test]
    fn a_file_in_no_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/out");
        let error = OutputFile::create(&path, &NONE, true).unwrap_err().to_string();
        assert!(error.contains("none/out"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn inputs_are_known_by_every_path() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("in"), "text").unwrap();
        fs::create_dir(at("sub")).unwrap();
        std::os::unix::fs::symlink(at("in"), at("link")).unwrap();
        fs::hard_link(at("in"), at("hard")).unwrap();
        for name in ["in", "link", "hard", "sub/../in"] {
            let error = OutputFile::create(&at(name), &[at("in")], true).unwrap_err();
            assert!(matches!(error, RunError::SameFile { .. }), "{name}: {error}");
        }
        assert!(OutputFile::create(&at("new"), &[at("in"), at("sub/../new")], true).is_err());
        assert!(OutputFile::create(&at("new"), &[at("in")], true).is_ok());
        let null = Path::new("/dev/null");
        assert!(OutputFile::create(null, &[null], true).is_ok());
        assert_eq!(fs::read_to_string(at("in")).unwrap(), "text");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("target"), "old").unwrap();
        fs::set_permissions(at("target"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("target", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("/dev/full", at("full")).unwrap();
        for name in ["link", "dangling"] {
            let mut file = OutputFile::create(&at(name), &NONE, true).unwrap();
            file.write_all(b"new").unwrap();
            file.finish().unwrap();
            assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink(), "{name}");
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "new", "{name}");
        }
        assert_eq!(fs::metadata(at("target")).unwrap().permissions().mode() & 0o777, 0o640);
        let mut file = OutputFile::create(&at("full"), &NONE, true).unwrap();
        file.write_all(b"new").unwrap();
        assert!(file.finish().is_err(), "the device is full");
        assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
        assert_eq!(names(dir.path()), ["dangling", "full", "link", "nowhere", "target"]);
    }

    /// New files follow the umask, as those of every other program do.
    #[cfg(unix)]
    #[test]
    fn new_files_have_usual_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        let (usual, made) = (dir.path().join("usual"), dir.path().join("made"));
        fs::write(&usual, "").unwrap();
        OutputFile::create(&made, &NONE, true).unwrap().finish().unwrap();
        assert_eq!(mode(&made), mode(&usual));
    }
}
