use crate::json_lines::{json_line, read_json_lines, write_json_lines};
use crate::{RunError, write_atomic};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One line of `samples.jsonl`: a response that a model gave, as text, and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Stage of the run.
    pub stage: String,
    /// Steps of the stage that the model had learnt when it gave it: 0 before the first.
    pub step: usize,
    /// What it was asked.
    pub prompt: String,
    /// What it said.
    pub response: String,
    /// Scores by name, in the order of their report; `null` where one is not finite.
    #[serde(default, with = "crate::ordered")]
    pub scores: Vec<(String, Option<f64>)>,
}

/// Writes sets of responses, one JSON object a line. A set is what one model said: those of one stage and step.
#[derive(Debug)]
pub struct SamplesFile {
    path: PathBuf,
    samples: Vec<Sample>,
}

impl SamplesFile {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn create(path: &Path) -> Result<Self, RunError> {
        write_atomic(path, b"")?;
        Ok(Self { path: path.to_path_buf(), samples: Vec::new() })
    }

    /// Continues a file after the samples that `keep` accepts; the others are removed. A file that is not there
    /// is begun.
    ///
    /// A run that was cut off may have shown models of steps after its last checkpoint, and will show them
    /// again, so the caller keeps the samples up to the checkpoint.
    ///
    /// # Errors
    /// [`RunError::Io`], and [`RunError::JsonLine`] as for [`read_samples`].
    pub fn resume(path: &Path, keep: impl Fn(&Sample) -> bool) -> Result<Self, RunError> {
        let mut samples = read_samples(path)?;
        samples.retain(keep);
        let file = Self { path: path.to_path_buf(), samples };
        file.rewrite()?;
        Ok(file)
    }

    /// Adds a set: samples of one stage and step. The same set of an earlier part of the run is replaced.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn write(&mut self, set: &[Sample]) -> Result<(), RunError> {
        let there = |sample: &Sample| {
            set.iter().any(|new| (&new.stage, new.step) == (&sample.stage, sample.step))
        };
        let before = self.samples.len();
        self.samples.retain(|sample| !there(sample));
        let replaces = self.samples.len() < before;
        self.samples.extend_from_slice(set);
        if replaces {
            return self.rewrite();
        }
        let append = || -> std::io::Result<()> {
            let lines = set.iter().map(json_line).collect::<Result<Vec<_>, _>>()?;
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(&lines.concat())?;
            file.sync_all()
        };
        append().map_err(RunError::io("write", &self.path))
    }

    fn rewrite(&self) -> Result<(), RunError> {
        write_json_lines(&self.path, &self.samples)
    }
}

/// Reads a file of samples, none if it is not there; a last line that a crash tore is left out.
///
/// # Errors
/// [`RunError::Io`], or [`RunError::JsonLine`] with the number of a line that is whole and still no sample.
pub fn read_samples(path: &Path) -> Result<Vec<Sample>, RunError> {
    read_json_lines(path, "samples")
}
