use crate::{DataError, Located};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What the columns of a row group may take when they are unpacked: the sizes stand in the file,
/// and a damaged one may promise anything.
const GROUP_LIMIT: i64 = 4 << 30;

/// The rows of one Parquet file.
///
/// Sizes that the file promises are held against its length and a limit before anything is read.
/// The library behind this is written for files that are what they say: on damaged ones it may
/// panic, which is caught here and becomes an error that names the file.
pub(super) struct ParquetRows {
    path: PathBuf,
    rows: RowIter<'static>,
    number: usize,
}

impl std::fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParquetRows({}, row {})", self.path.display(), self.number)
    }
}

impl ParquetRows {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let io = |error| DataError::Io { path: path.to_owned(), error };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let rows = guarded(path, || {
            let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
            check_sizes(&reader, length)?;
            Ok(reader.into_iter())
        })?;
        Ok(Self { path: path.to_owned(), rows, number: 0 })
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Located<Map<String, Value>>>, DataError> {
        let Self { path, rows, number } = self;
        let row = guarded(path, || rows.next().transpose().map_err(|e| e.to_string()))?;
        match row {
            Some(row) => {
                *number += 1;
                Ok(Some(Located { line: *number, record: object(&row) }))
            }
            None if *number == 0 => Err(DataError::EmptyFile { path: path.clone() }),
            None => Ok(None),
        }
    }
}

/// Runs the library; what it reports, and what it panics with, are errors of the file.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, String>) -> Result<T, DataError> {
    let error = |message: String| DataError::Parquet { path: path.to_owned(), message };
    // After a panic nothing of the reader is used again: the error is the last item.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(error(format!("the file is damaged: {text}")))
        }
    }
}

/// Every promised size must fit the file, or the limit where it is of unpacked data.
fn check_sizes(reader: &SerializedFileReader<File>, length: u64) -> Result<(), String> {
    for group in reader.metadata().row_groups() {
        let mut unpacked = 0i64;
        for column in group.columns() {
            let (start, size) = (column.data_page_offset(), column.compressed_size());
            let start = column.dictionary_page_offset().unwrap_or(start).min(start);
            let end = start.checked_add(size).and_then(|end| u64::try_from(end).ok());
            if start < 0 || size < 0 || end.is_none_or(|end| end > length) {
                return Err(format!("column `{}` lies outside the file", column.column_path()));
            }
            unpacked = unpacked.saturating_add(column.uncompressed_size().max(0));
        }
        if unpacked > GROUP_LIMIT {
            return Err(format!("a row group of {unpacked} bytes; the limit is {GROUP_LIMIT}"));
        }
    }
    Ok(())
}

fn object(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect()
}

/// A field as JSON. Types that texts and messages do not need become their printed form.
fn json(field: &Field) -> Value {
    let float = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => (*flag).into(),
        Field::Byte(n) => (*n).into(),
        Field::Short(n) => (*n).into(),
        Field::Int(n) => (*n).into(),
        Field::Long(n) => (*n).into(),
        Field::UByte(n) => (*n).into(),
        Field::UShort(n) => (*n).into(),
        Field::UInt(n) => (*n).into(),
        Field::ULong(n) => (*n).into(),
        Field::Float16(x) => float(x.to_f64()),
        Field::Float(x) => float(f64::from(*x)),
        Field::Double(x) => float(*x),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            // Not null, which would be a column that is not there.
            Err(_) => serde_json::json!({"bytes": bytes.len()}),
        },
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::MapInternal(map) => {
            let key = |field: &Field| match json(field) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.entries().iter().map(|(k, v)| (key(k), json(v))).collect()
        }
        other => other.to_string().into(),
    }
}
