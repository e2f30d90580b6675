use std::path::{Path, PathBuf};
use thiserror::Error;

/// What can go wrong around a run: files, configuration, metrics and plots.
///
/// Each text is complete, reason included, so there is no `source` chain to print after it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The operating system refused something.
    #[error("cannot {action} `{}`: {reason}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        reason: std::io::Error,
    },
    /// A disk without enough room.
    #[error(
        "no room for {what} on the disk of `{}`: {needed} bytes are needed, {free} are free",
        path.display()
    )]
    DiskSpace {
        /// What would have been written.
        what: String,
        /// Where.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are free to this user.
        free: u64,
    },
    /// A run would overwrite a result.
    #[error(
        "run folder `{}` is not empty: it holds the result of an earlier run, which stays",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A run would write over what it learns from.
    #[error(
        "`{}` lies in the run folder `{}`, and is read by this run: it would be lost",
        input.display(),
        path.display()
    )]
    InputInFolder {
        /// The folder.
        path: PathBuf,
        /// What lies in it.
        input: PathBuf,
    },
    /// A folder that no run wrote is neither continued nor emptied.
    #[error(
        "`{}` is not empty and no run wrote it; it is neither continued nor emptied",
        path.display()
    )]
    NotARunFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A run cannot go on as another one.
    #[error("`{}` is of another run, which differs in {}", path.display(), keys.join(", "))]
    AnotherRun {
        /// The settings that were saved.
        path: PathBuf,
        /// The keys that differ.
        keys: Vec<String>,
    },
    /// Two runs cannot share a folder.
    #[error("another process is writing to `{}`", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A loop ended before its first step.
    #[error("{why} before anything was learnt; no weights are saved")]
    NothingLearnt {
        /// What ended it.
        why: String,
    },
    /// A loop ended early by a fault, and what it had learnt was saved.
    #[error("{reason}\nthe last good weights, those {progress}, are in `{}`", path.display())]
    Kept {
        /// What went wrong.
        reason: String,
        /// How far it came.
        progress: crate::Steps,
        /// Where the weights are.
        path: PathBuf,
    },
    /// What was learnt could not be saved.
    #[error("cannot save the weights {progress} in `{}`: {reason}", path.display())]
    NotSaved {
        /// Why.
        reason: String,
        /// How far the loop came.
        progress: crate::Steps,
        /// Where they should have been.
        path: PathBuf,
    },
    /// A configuration that does not say what its type wants.
    #[error("{}:{line}:{column}: {}{message}", path.display(), in_field(field))]
    Config {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// Dotted path of the field, empty at the top.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A configuration of another program.
    #[error("{} is a configuration of {there}, and this is {here}", path.display())]
    AnotherProgram {
        /// The file.
        path: PathBuf,
        /// The program that it is of.
        there: String,
        /// The program that was asked.
        here: String,
    },
    /// A text that sets nothing.
    #[error("`{text}` is no KEY=VALUE")]
    NoSetting {
        /// The text.
        text: String,
    },
    /// A setting that is given twice beside its file.
    #[error("`{key}` is set twice")]
    SetTwice {
        /// Its dotted key.
        key: String,
    },
    /// A setting, given beside its file, that does not say what its type wants.
    #[error("in `{field}`: {message}")]
    SetWrong {
        /// Dotted path of the field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A configuration that TOML cannot express.
    #[error("cannot write `{}` as TOML: {reason}", path.display())]
    ConfigWrite {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: toml::ser::Error,
    },
    /// A number that a configuration file cannot hold.
    #[error(
        "`{field}` is {value}, but must be at most {}, the largest number of a configuration file",
        i64::MAX
    )]
    TooLarge {
        /// Dotted name of the setting.
        field: String,
        /// Its value.
        value: String,
    },
    /// A line of a run's file that is whole and not what the file holds.
    #[error("{}:{line}: not a {what} line: {reason}", path.display())]
    JsonLine {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What its lines are.
        what: &'static str,
        /// What the parser says.
        reason: serde_json::Error,
    },
    /// An output that would take the place of an input.
    #[error("`{}` is the same file as `{}`, which is still needed", path.display(), other.display())]
    SameFile {
        /// The output.
        path: PathBuf,
        /// The other file.
        other: PathBuf,
    },
    /// An output that would take the place of an earlier one.
    #[error("`{}` holds an earlier result, which stays", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// A plot without a single finite point.
    #[error("plot `{title}` has no finite point to draw")]
    EmptyPlot {
        /// Title of the plot.
        title: String,
    },
    /// A statistic that was never reported.
    #[error("no step of stage `{stage}` reports `{name}`")]
    NoSuchMetric {
        /// Name of the statistic.
        name: String,
        /// The stage.
        stage: String,
    },
    /// Parallel vectors of different lengths.
    #[error("series `{series}`: {expected} x values, but {got} {what}")]
    SeriesLength {
        /// Name of the series.
        series: String,
        /// Which vector differs.
        what: &'static str,
        /// Number of x values.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// A bar with more or fewer lengths than its plot has parts.
    #[error("bar `{bar}` has {got} lengths, but there are {expected} parts")]
    BarParts {
        /// Name of the bar.
        bar: String,
        /// Number of parts.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// A table row that is too short or too long.
    #[error("table row {row} has {got} cells, but there are {expected} columns")]
    RowWidth {
        /// Index of the row.
        row: usize,
        /// Number of columns.
        expected: usize,
        /// Cells given.
        got: usize,
    },
    /// The driver does not tell what a board holds.
    #[cfg(feature = "nvml")]
    #[error("cannot read the memory of NVIDIA board {index}: {reason}")]
    Nvml {
        /// Index of the board.
        index: u32,
        /// What the driver's library says, or why it could not be loaded.
        reason: nvml_wrapper::error::NvmlError,
    },
    /// The handler of a signal could not be installed.
    #[error("cannot handle signal {signal}: {reason}")]
    StopHandler {
        /// Its number.
        signal: i32,
        /// Why.
        reason: std::io::Error,
    },
    /// A setting that cannot be meant.
    #[error("`{field}` is {value}, but must be {expected}")]
    Setting {
        /// Its name.
        field: String,
        /// Its value.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
}

impl RunError {
    /// For `map_err`: an I/O error with what was attempted on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |reason| RunError::Io { action, path: path.to_path_buf(), reason }
    }
}

fn in_field(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("in `{field}`: ") }
}
