//! What becomes of rows that cannot be learnt from, and what became of them.

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use hydralign::data::{DataError, OnBadRow, ReadReport, Reader, RecordError, Truncation};
use hydralign::runs::{RunFolder, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write as _};

/// What becomes of a row that nothing can be learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadRow {
    /// The program ends, and names the row.
    #[default]
    Refuse,
    /// The row is left out, and counted.
    Skip,
}

/// What becomes of a row that is longer than the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncate {
    /// The program ends, and names the row.
    #[default]
    Refuse,
    /// The prompt keeps its end.
    KeepEnd,
    /// The prompt keeps its start.
    KeepStart,
    /// The row is left out, and counted.
    Drop,
}

/// Flags for rows that cannot be learnt from.
#[derive(clap::Args, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RowArgs {
    /// What becomes of a row that nothing can be learnt from: equal or empty replies, a missing field, too
    /// many tokens, no JSON.
    #[arg(long, value_enum, default_value = "refuse")]
    pub on_bad_row: BadRow,
    /// What becomes of a row that is longer than the context.
    #[arg(long, value_enum, default_value = "refuse")]
    pub truncate: Truncate,
}

impl RowArgs {
    /// A reader that follows the flags.
    pub fn apply<'a>(&self, reader: Reader<'a>) -> Reader<'a> {
        let on_bad_row = match self.on_bad_row {
            BadRow::Refuse => OnBadRow::Refuse,
            BadRow::Skip => OnBadRow::Skip,
        };
        let truncation = match self.truncate {
            Truncate::Refuse => Truncation::Refuse,
            Truncate::KeepEnd => Truncation::PromptStart,
            Truncate::KeepStart => Truncation::PromptEnd,
            Truncate::Drop => Truncation::Drop,
        };
        Reader { on_bad_row, truncation, ..reader }
    }

    /// The flags as they would be typed, each behind a blank; nothing for defaults.
    pub fn flags(&self) -> String {
        let typed = |flag: &str, value: Option<clap::builder::PossibleValue>| {
            value.map(|value| format!(" {flag} {}", value.get_name())).unwrap_or_default()
        };
        let Self { on_bad_row, truncate } = *self;
        let bad = (on_bad_row != BadRow::default()).then_some(on_bad_row);
        let long = (truncate != Truncate::default()).then_some(truncate);
        typed("--on-bad-row", bad.and_then(|bad| bad.to_possible_value()))
            + &typed("--truncate", long.and_then(|long| long.to_possible_value()))
    }
}

/// An error of a data file, with what helps. Where rows are cut already, what is too long is no prompt that
/// could lose more.
pub fn advised(error: DataError, args: &RowArgs) -> anyhow::Error {
    let refuses = args.truncate == Truncate::Refuse;
    let advice = match error.fault() {
        Some(RecordError::NoRoom { .. } | RecordError::PromptTooLong { .. }) if refuses => {
            "--truncate keep-end, keep-start or drop fits such rows, --on-bad-row skip leaves them out"
        }
        Some(RecordError::TooLong { .. }) if refuses => {
            "--truncate keep-end or keep-start cuts the prompt of such rows where that is enough; --truncate drop and --on-bad-row skip leave them out"
        }
        Some(
            RecordError::TooLong { .. }
            | RecordError::NoRoom { .. }
            | RecordError::PromptTooLong { .. },
        ) => {
            "cutting the prompt is not enough: --truncate drop or --on-bad-row skip leaves such rows out"
        }
        Some(RecordError::NoTemplate { .. } | RecordError::LineTooLong { .. }) | None => {
            return error.into();
        }
        Some(_) if !error.is_of_one_record() => return error.into(),
        Some(_) => "--on-bad-row skip leaves such rows out",
    };
    anyhow!("{error} ({advice})")
}

/// What became of the rows of a run's files, by the names of their flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts(BTreeMap<String, ReadReport>);

impl RowCounts {
    /// What was read of a file by these flags, after the user is told what became of its rows.
    ///
    /// # Errors
    /// The reader's, with the flag that helps.
    pub fn told<T>(
        &mut self,
        flag: &str,
        path: &str,
        args: &RowArgs,
        read: Result<(T, ReadReport), DataError>,
    ) -> Result<T> {
        let (items, report) = read.map_err(|error| advised(error, args))?;
        tell(path, &report);
        self.0.insert(flag.to_owned(), report);
        Ok(items)
    }

    /// Writes the counts into a run's folder, as `data.json`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, folder: &RunFolder) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Ok(write_atomic(&folder.file("data.json"), &serde_json::to_vec_pretty(self)?)?)
    }
}

/// Tells the user what became of a file's rows.
pub fn tell(path: &str, report: &ReadReport) {
    for note in report.notes() {
        // Where nobody listens nothing is lost.
        let _ = writeln!(io::stderr(), "{path}: {note}");
    }
}
