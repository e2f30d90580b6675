//! Where a program writes its lines.

use anyhow::{Result, anyhow};
use hydralign::runs::{OutputFile, RunError};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

/// Standard output, or a file that takes its name when it is complete.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Standard(BufWriter<StdoutLock<'static>>),
    /// A file.
    File(OutputFile),
}

/// Begins a file that is none of `others`, and that `--overwrite` lets take the place of an earlier one.
///
/// # Errors
/// A file that cannot be written, that is one of the others, or that stays, with the flag that replaces it.
pub fn output_file<P: AsRef<Path>>(
    path: &Path,
    others: &[P],
    overwrite: bool,
) -> Result<OutputFile> {
    OutputFile::create(path, others, overwrite).map_err(|error| match error {
        RunError::Exists { .. } => {
            anyhow!("{error}: --overwrite replaces it when the new one is complete")
        }
        other => other.into(),
    })
}

/// The files in some folders, such as those of a model: what an output must not take the place of.
pub fn files_of<'a>(folders: impl IntoIterator<Item = Option<&'a Path>>) -> Vec<PathBuf> {
    let listed = folders.into_iter().flatten().filter_map(|dir| std::fs::read_dir(dir).ok());
    listed.flatten().filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_file()).collect()
}

impl Output {
    /// A file that is none of `others`; standard output for `-` or no path.
    ///
    /// # Errors
    /// As [`output_file`].
    pub fn open<P: AsRef<Path>>(
        path: Option<&Path>,
        others: &[P],
        overwrite: bool,
    ) -> Result<Self> {
        Ok(match path.filter(|p| *p != Path::new("-")) {
            Some(path) => Self::File(output_file(path, others, overwrite)?),
            None => Self::Standard(BufWriter::new(io::stdout().lock())),
        })
    }

    /// What a user is told when a program fails after some lines.
    pub fn kept(&self, lines: usize) -> Option<String> {
        let Self::File(file) = self else { return None };
        let partial = file.partial().filter(|_| lines > 0)?;
        Some(format!("{} holds the {lines} lines before", partial.display()))
    }

    /// All is written.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Standard(mut out) => Ok(out.flush()?),
            Self::File(file) => Ok(file.finish()?),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// The file that a program reads from standard input is known by this name where the system has one.
pub fn standard_input() -> PathBuf {
    PathBuf::from("/dev/stdin")
}
