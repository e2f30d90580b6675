use super::parquet::ParquetRows;
use crate::source::{self, Source, TextSource};
use crate::{DataError, JsonlReader, Located, RecordError};
use hydralign_json::NonFinite;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file's rows are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowUnit {
    /// A line of JSON Lines.
    Line,
    /// An element of a JSON array.
    Element,
    /// A row of Parquet.
    Row,
}

impl RowUnit {
    /// What a message calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Element => "element",
            Self::Row => "row",
        }
    }
}

/// A row of a data set and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The file.
    pub path: Arc<Path>,
    /// What `number` counts.
    pub unit: RowUnit,
    /// Which of the file's it is, from 1.
    pub number: usize,
    /// The columns.
    pub fields: Map<String, Value>,
    /// Numbers of the columns that are not finite, as places (JSON pointers) that hold `null`.
    pub non_finite: Vec<NonFinite>,
}

impl Row {
    /// An error at this row.
    pub fn error(&self, fault: RecordError) -> DataError {
        let (path, number) = (self.path.to_path_buf(), self.number);
        match self.unit {
            RowUnit::Line => DataError::Record { path, line: number, fault },
            RowUnit::Element => DataError::Element { path, element: number, fault },
            RowUnit::Row => DataError::Row { path, row: number, fault },
        }
    }
}

/// The rows of files one after another, one in memory at a time (of a Parquet file: the pages
/// that it lies in). What a file is follows from what it begins with: Parquet, JSON Lines or a JSON array,
/// the latter two also packed with gzip or Zstandard. `-` is standard input. The first
/// error is the last item, unless the rows go on behind faulty ones ([`Rows::past_faults`]).
#[derive(Debug)]
pub struct Rows {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(Arc<Path>, Open)>,
    past_faults: bool,
}

#[derive(Debug)]
enum Open {
    Lines(JsonlReader<TextSource, Map<String, Value>>),
    Parquet(Box<ParquetRows>),
}

impl Open {
    fn file(path: &Path, past_faults: bool) -> Result<(Arc<Path>, Self), DataError> {
        match source::open(path)? {
            Source::Parquet => Ok((path.into(), Self::Parquet(Box::new(ParquetRows::open(path)?)))),
            Source::Text(text) => {
                let name = if path == Path::new(source::STDIN) {
                    Path::new("standard input")
                } else {
                    path
                };
                let lines = JsonlReader::new(text, name).past_faults(past_faults);
                Ok((name.into(), Self::Lines(lines)))
            }
        }
    }

    fn next_row(&mut self, path: &Arc<Path>) -> Result<Option<Row>, DataError> {
        let (next, unit, non_finite) = match self {
            Self::Parquet(rows) => (rows.next_row()?, RowUnit::Row, Vec::new()),
            Self::Lines(lines) => {
                let next = lines.next().transpose()?;
                let unit = if lines.is_array() { RowUnit::Element } else { RowUnit::Line };
                (next, unit, lines.non_finite().to_vec())
            }
        };
        let row = |Located { line: number, record: fields }| {
            let path = path.clone();
            Row { path, unit, number, fields, non_finite }
        };
        Ok(next.map(row))
    }
}

impl Rows {
    /// The rows of these files.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files: files.into_iter(), open: None, past_faults: false }
    }

    /// The same rows, of which those that are faulty by themselves are errors among the others.
    pub fn past_faults(mut self, on: bool) -> Self {
        self.past_faults = on;
        self
    }

    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        loop {
            if let Some((path, open)) = &mut self.open
                && let Some(row) = open.next_row(path)?
            {
                return Ok(Some(row));
            }
            let Some(path) = self.files.next() else { return Ok(None) };
            self.open = Some(Open::file(&path, self.past_faults)?);
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row().transpose();
        if let Some(Err(error)) = &next
            && !(self.past_faults && error.is_of_one_record())
        {
            (self.files, self.open) = (Vec::new().into_iter(), None);
        }
        next
    }
}
