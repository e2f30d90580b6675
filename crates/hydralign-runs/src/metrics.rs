use crate::json_lines::{json_line, json_lines};
use crate::tensorboard::EventFile;
use crate::{Ledger, MemoryTimeline, PhaseBytes, PhaseClock, RunError, write_atomic};
use hydralign_core::{Observer, Phase, Stats};
use hydralign_memory::Meter;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One line of `metrics.jsonl`: the statistics of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Stage of the run.
    pub stage: String,
    /// Step within the stage, from 1.
    pub step: usize,
    /// Steps that the stage will take.
    pub steps: usize,
    /// Wall-clock seconds since the run began, earlier parts of a continued run included.
    pub seconds: f64,
    /// Named values in the order of their report; `null` where the value is not finite.
    #[serde(with = "crate::ordered")]
    pub values: Vec<(String, Option<f64>)>,
    /// Wall-clock seconds of each phase since the line before.
    #[serde(with = "crate::ordered")]
    pub phase_seconds: Vec<(String, f64)>,
    /// Name and value (`NaN`, `inf`, `-inf`) of what JSON cannot hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_finite: Vec<(String, String)>,
    /// What each phase held since the line before; empty without a memory meter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<PhaseBytes>,
}

impl MetricsLine {
    /// The value of that name: NaN or ±∞ where it was not finite, `None` if it is not there.
    pub fn get(&self, name: &str) -> Option<f64> {
        let (_, value) = self.values.iter().find(|(n, _)| n == name)?;
        let not_finite = || self.non_finite.iter().find(|(n, _)| n == name)?.1.parse().ok();
        value.or_else(not_finite)
    }
}

/// Writes one JSON object a line, each as soon as its step is done.
///
/// An observer cannot fail, so the first error is kept, nothing is written after it, and [`MetricsFile::finish`]
/// returns it.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    start: Instant,
    earlier_seconds: f64,
    phases: PhaseClock,
    memory: Option<MemoryTimeline>,
    events: Option<EventFile>,
    error: Option<RunError>,
}

impl MetricsFile {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn create(path: &Path) -> Result<Self, RunError> {
        write_atomic(path, b"")?;
        Self::append(path, 0.0)
    }

    /// Continues a file after the lines that `keep` accepts; the others are removed.
    ///
    /// A run that was cut off has reported steps after its last checkpoint and will report
    /// them again, so the caller keeps the lines up to the checkpoint.
    ///
    /// # Errors
    /// [`RunError::Io`], and [`RunError::JsonLine`] as for [`read_metrics`].
    pub fn resume(path: &Path, keep: impl Fn(&MetricsLine) -> bool) -> Result<Self, RunError> {
        let text = fs::read(path).map_err(RunError::io("read", path))?;
        let (mut bytes, mut last) = (Vec::new(), None);
        for (line, raw) in lines(path, &text)? {
            // As they were written: seconds that are read and written again may change their last digit.
            if keep(&line) {
                bytes.extend_from_slice(raw);
                bytes.push(b'\n');
                last = Some(line);
            }
        }
        write_atomic(path, &bytes)?;
        Self::append(path, last.map_or(0.0, |line| line.seconds))
    }

    fn append(path: &Path, earlier_seconds: f64) -> Result<Self, RunError> {
        let file =
            OpenOptions::new().append(true).open(path).map_err(RunError::io("open", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            start: Instant::now(),
            earlier_seconds,
            phases: PhaseClock::new(),
            memory: None,
            events: None,
            error: None,
        })
    }

    /// Also writes what each phase holds: `meter` reads the bytes, `ledger` says what for.
    #[must_use]
    pub fn with_memory(mut self, meter: impl Meter + 'static, ledger: &Ledger) -> Self {
        let timeline = MemoryTimeline::new(meter, ledger).after(self.seconds());
        self.memory = Some(timeline);
        self
    }

    /// Also writes an event file for TensorBoard into a folder: scalars `stage/name` by step.
    ///
    /// It begins with the lines that are kept of an earlier part of the run, and takes the place of the event
    /// file that that part has left there.
    ///
    /// # Errors
    /// [`RunError::Io`], and [`RunError::JsonLine`] as for [`read_metrics`].
    pub fn with_tensorboard(mut self, folder: &Path) -> Result<Self, RunError> {
        let lines = read_metrics(&self.path)?;
        self.events = Some(EventFile::create(folder, &lines, self.seconds())?);
        Ok(self)
    }

    fn seconds(&self) -> f64 {
        self.earlier_seconds + self.start.elapsed().as_secs_f64()
    }

    /// The first error of the lines written so far; the file is complete without one.
    ///
    /// # Errors
    /// [`RunError::Io`] of the first line or event that could not be written.
    pub fn finish(self) -> Result<(), RunError> {
        match self.error {
            Some(error) => Err(error),
            None => {
                self.events.as_ref().map_or(Ok(()), EventFile::sync)?;
                self.file.sync_all().map_err(RunError::io("synchronise", &self.path))
            }
        }
    }

    fn line(&mut self, stats: &Stats) -> MetricsLine {
        let finite = |v: f64| v.is_finite().then_some(v);
        let lost = stats.values.iter().filter(|(_, v)| !v.is_finite());
        MetricsLine {
            stage: stats.stage.clone(),
            step: stats.step,
            steps: stats.steps,
            seconds: self.seconds(),
            values: stats.values.iter().map(|(n, v)| (n.clone(), finite(*v))).collect(),
            phase_seconds: (self.phases.take().iter())
                .map(|total| (total.phase.name().to_owned(), total.wall.as_secs_f64()))
                .collect(),
            non_finite: lost.map(|(n, v)| (n.clone(), v.to_string())).collect(),
            memory: self.memory.as_mut().map(MemoryTimeline::take).unwrap_or_default(),
        }
    }
}

impl Observer for MetricsFile {
    fn phase(&mut self, phase: Phase) {
        self.phases.phase(phase);
        if let Some(memory) = &mut self.memory {
            memory.phase(phase);
        }
    }

    fn stats(&mut self, stats: &Stats) {
        // A line behind one that is torn would make it one that cannot be read.
        if self.error.is_some() {
            return;
        }
        let line = self.line(stats);
        // One write a line, without a buffer: a crash can tear the last line and no other.
        let written = json_line(&line).and_then(|bytes| self.file.write_all(&bytes));
        let written = written.map_err(RunError::io("write", &self.path));
        let told = self.events.as_mut().map_or(Ok(()), |events| events.append(&line));
        if let Err(error) = written.and(told) {
            self.error.get_or_insert(error);
        }
    }
}

/// Reads a metrics file; a last line that a crash tore is left out.
///
/// # Errors
/// [`RunError::Io`], or [`RunError::JsonLine`] with the number of a line that is whole and
/// still not a metrics line.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>, RunError> {
    let text = fs::read(path).map_err(RunError::io("read", path))?;
    Ok(lines(path, &text)?.into_iter().map(|(line, _)| line).collect())
}

/// The lines of a metrics file, each with its bytes.
fn lines<'a>(path: &Path, text: &'a [u8]) -> Result<Vec<(MetricsLine, &'a [u8])>, RunError> {
    let mut lines = json_lines::<MetricsLine>(path, "metrics", text)?;
    lines.iter_mut().for_each(|(line, raw)| restore(line, &String::from_utf8_lossy(raw)));
    Ok(lines)
}

/// Sets each value to the number that was written: the parser may miss it by a few of the last
/// bits.
fn restore(line: &mut MetricsLine, raw: &str) {
    for (name, value) in &mut line.values {
        let Some(read) = *value else { continue };
        let written = |number: &f64| {
            let pair = serde_json::to_string(name)
                .and_then(|name| Ok(format!("{name}:{}", serde_json::to_string(number)?)));
            pair.is_ok_and(|pair| [",", "}"].iter().any(|end| raw.contains(&(pair.clone() + end))))
        };
        let near = [0, 1, -1, 2, -2, 3, -3, 4, -4];
        let near = near.map(|bits| f64::from_bits(read.to_bits().wrapping_add_signed(bits)));
        *value = near.into_iter().filter(|v| v.is_finite()).find(written).or(*value);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_behind_a_line_that_could_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::create(&path).unwrap();
        let stats = |step| Stats { stage: "ppo".to_owned(), step, steps: 3, values: vec![] };
        file.stats(&stats(1));
        let good = std::mem::replace(&mut file.file, File::open(&path).unwrap());
        file.stats(&stats(2));
        file.file = good;
        file.stats(&stats(3));
        let steps: Vec<usize> = read_metrics(&path).unwrap().iter().map(|l| l.step).collect();
        assert_eq!(steps, [1]);
        assert!(file.finish().is_err());
    }

    #[test]
    fn a_full_disk_is_reported_at_the_end() {
        // Refuses every write with "no space left on device".
        let path = Path::new("/dev/full");
        let mut file = MetricsFile::append(path, 0.0).unwrap();
        let stats = Stats { stage: "ppo".to_owned(), step: 1, steps: 2, values: vec![] };
        file.stats(&stats);
        file.stats(&stats);
        let text = file.finish().unwrap_err().to_string();
        assert!(text.starts_with("cannot write `/dev/full`: "), "{text}");
    }
}
