use super::parquet::ParquetRows;
use crate::{DataError, JsonlReader, Located, RecordError};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A row of a data set and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The file.
    pub path: Arc<Path>,
    /// The line of a JSON Lines file or the row of a Parquet file, from 1.
    pub number: usize,
    /// The columns.
    pub fields: Map<String, Value>,
}

impl Row {
    /// An error at this row.
    pub(super) fn error(&self, fault: RecordError) -> DataError {
        let path = self.path.to_path_buf();
        match is_parquet(&self.path) {
            true => DataError::Row { path, row: self.number, fault },
            false => DataError::Record { path, line: self.number, fault },
        }
    }
}

/// The rows of files one after another, one in memory at a time (of a Parquet file: the pages
/// that it lies in). Files that end in `.parquet` are Parquet, all others JSON Lines. The first
/// error is the last item.
#[derive(Debug)]
pub struct Rows {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(Arc<Path>, Open)>,
}

#[derive(Debug)]
enum Open {
    Lines(JsonlReader<BufReader<File>, Map<String, Value>>),
    Parquet(Box<ParquetRows>),
}

impl Rows {
    /// The rows of these files.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files: files.into_iter(), open: None }
    }

    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        loop {
            if let Some((path, open)) = &mut self.open {
                let row = |number, fields| Row { path: path.clone(), number, fields };
                let next = match open {
                    Open::Lines(lines) => lines.next().transpose()?,
                    Open::Parquet(rows) => rows.next_row()?,
                };
                if let Some(Located { line, record }) = next {
                    return Ok(Some(row(line, record)));
                }
            }
            let Some(path) = self.files.next() else { return Ok(None) };
            let open = match is_parquet(&path) {
                true => Open::Parquet(Box::new(ParquetRows::open(&path)?)),
                false => Open::Lines(JsonlReader::open(&path)?),
            };
            self.open = Some((path.into(), open));
        }
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row().transpose();
        if matches!(next, Some(Err(_))) {
            (self.files, self.open) = (Vec::new().into_iter(), None);
        }
        next
    }
}
