//! Where a program writes its lines.

use anyhow::Result;
use hydralign::runs::OutputFile;
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

impl Output {
    /// A file that is none of `others`; standard output for `-` or no path.
    ///
    /// # Errors
    /// A file that cannot be written, or that is one of the others.
    pub fn open<P: AsRef<Path>>(path: Option<&Path>, others: &[P]) -> Result<Self> {
        Ok(match path.filter(|p| *p != Path::new("-")) {
            Some(path) => Self::File(OutputFile::create(path, others)?),
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
