use crate::crc32c::crc32c;
use crate::{MetricsLine, RunError, write_atomic};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Begins the name of an event file; the second in which the run began follows, and the part of the run.
const PREFIX: &str = "events.out.tfevents.";
/// Stands between the two numbers.
const WRITER: &str = ".hydralign.";

/// What TensorBoard reads: one event a metrics line, whose tags are `stage/name`.
///
/// A record is `length ‖ mask(crc(length)) ‖ event ‖ mask(crc(event))`, little-endian, and an event is a
/// protocol buffer (`event.proto` and `record_writer.cc` of TensorFlow).
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
    /// Unix time at which the run began.
    began: f64,
}

impl EventFile {
    /// An event file that says what these lines say, in the place of those that are in the folder.
    ///
    /// The run began when the earlier ones say, or else `seconds` ago.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub(crate) fn create(
        folder: &Path,
        lines: &[MetricsLine],
        seconds: f64,
    ) -> Result<Self, RunError> {
        fs::create_dir_all(folder).map_err(RunError::io("create", folder))?;
        let earlier = event_files(folder)?;
        let last = earlier.iter().map(|(_, began, part)| (*part, *began)).max();
        let (part, began) =
            last.map_or_else(|| (0, now() - seconds.round() as u64), |(p, b)| (p + 1, b));
        let path = folder.join(format!("{PREFIX}{began:010}{WRITER}{part:04}"));
        write_atomic(&path, &content(began as f64, lines))?;
        for (old, ..) in earlier {
            fs::remove_file(&old).map_err(RunError::io("remove", &old))?;
        }
        let file =
            OpenOptions::new().append(true).open(&path).map_err(RunError::io("open", &path))?;
        Ok(Self { path, file, began: began as f64 })
    }

    /// Adds a line.
    pub(crate) fn append(&mut self, line: &MetricsLine) -> Result<(), RunError> {
        let bytes = record(&step_event(self.began, line));
        self.file.write_all(&bytes).map_err(RunError::io("write", &self.path))
    }

    pub(crate) fn sync(&self) -> Result<(), RunError> {
        self.file.sync_all().map_err(RunError::io("synchronise", &self.path))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The files that a run has written there, each with the second in which the run began and its part.
fn event_files(folder: &Path) -> Result<Vec<(PathBuf, u64, u32)>, RunError> {
    let entries = fs::read_dir(folder).map_err(RunError::io("list", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(RunError::io("list", folder))?.path();
        let numbers = path.file_name().and_then(|name| numbers(name.to_str()?));
        files.extend(numbers.map(|(began, part)| (path, began, part)));
    }
    Ok(files)
}

fn numbers(name: &str) -> Option<(u64, u32)> {
    let (began, part) = name.strip_prefix(PREFIX)?.split_once(WRITER)?;
    Some((began.parse().ok()?, part.parse().ok()?))
}

/// A whole file. The second event makes a TensorBoard that is running forget what an earlier file said.
fn content(began: f64, lines: &[MetricsLine]) -> Vec<u8> {
    let version = Message::at(began).bytes(3, b"brain.Event:2");
    let start = Message::at(began).bytes(7, &Message::default().varint(1, 1).0);
    let steps = lines.iter().map(|line| step_event(began, line));
    [version, start].into_iter().chain(steps).flat_map(|event| record(&event)).collect()
}

/// Wall time is the beginning plus the seconds of the line: a pause between two parts of a run is not in it.
fn step_event(began: f64, line: &MetricsLine) -> Message {
    let mut summary = Message::default();
    for (name, _) in &line.values {
        let tag = format!("{}/{name}", line.stage);
        let value = line.get(name).unwrap_or(f64::NAN) as f32;
        let value = Message::default().bytes(1, tag.as_bytes()).fixed(2, 5, &value.to_le_bytes());
        summary = summary.bytes(1, &value.0);
    }
    Message::at(began + line.seconds).varint(2, line.step as u64).bytes(5, &summary.0)
}

fn record(event: &Message) -> Vec<u8> {
    let length = (event.0.len() as u64).to_le_bytes();
    let masked =
        |bytes: &[u8]| crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [&length[..], &masked(&length), &event.0, &masked(&event.0)].concat()
}

/// The fields of a protocol buffer, in the order of their numbers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An event at a Unix time.
    fn at(seconds: f64) -> Self {
        Self::default().fixed(1, 1, &seconds.to_le_bytes())
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(mut self, field: u64, value: u64) -> Self {
        self.number(field << 3);
        self.number(value);
        self
    }

    fn fixed(mut self, field: u64, wire_type: u64, bytes: &[u8]) -> Self {
        self.number((field << 3) | wire_type);
        self.0.extend_from_slice(bytes);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.number((field << 3) | 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same lines as in `tests/goldens/tensorboard/generate.py`.
    #[allow(clippy::approx_constant, reason = "a number that the golden has")]
    fn lines() -> Vec<MetricsLine> {
        let line =
            |stage: &str, step, seconds, values: &[(&str, Option<f64>)], lost: &[(&str, &str)]| {
                let text = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
                MetricsLine {
                    stage: stage.into(),
                    step,
                    steps: 1000,
                    seconds,
                    values: values.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
                    phase_seconds: Vec::new(),
                    non_finite: lost.iter().map(text).collect(),
                    memory: Vec::new(),
                }
            };
        vec![
            line("dpo", 1, 0.5, &[("loss", Some(0.6931)), ("margin", Some(0.0))], &[]),
            line(
                "dpo",
                300,
                12.25,
                &[("loss", None), ("margin", None)],
                &[("loss", "NaN"), ("margin", "-inf")],
            ),
            line("ppo", 70_000, 1e6, &[("gewinn_größe", Some(-1.5e-7))], &[]),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        let expected = include_bytes!("../tests/goldens/tensorboard/events.bin");
        assert_eq!(content(1_700_000_000.0, &lines()), expected);
    }

    #[test]
    fn a_run_that_goes_on_keeps_its_beginning_and_one_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("tensorboard");
        let names = || -> Vec<String> {
            let entries = fs::read_dir(&folder).unwrap();
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        };
        let mut first = EventFile::create(&folder, &[], 100.0).unwrap();
        let began = first.began;
        assert!((now() as f64 - 100.0 - began).abs() <= 2.0);
        lines().iter().for_each(|line| first.append(line).unwrap());
        let written = fs::read(folder.join(&names()[0])).unwrap();
        assert_eq!(written, content(began, &lines()), "line by line as all at once");
        let second = EventFile::create(&folder, &lines()[..1], 0.5).unwrap();
        assert_eq!((second.began, names().len()), (began, 1));
        assert!(names()[0].ends_with(".0001"), "{:?}", names());
        let kept = fs::read(folder.join(&names()[0])).unwrap();
        assert!(kept == content(began, &lines()[..1]));
        fs::write(folder.join("other"), b"x").unwrap();
        EventFile::create(&folder, &[], 0.0).unwrap();
        assert_eq!(names().len(), 2, "what another program wrote stays");
    }
}
