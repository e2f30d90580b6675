use crate::records::kind;
use crate::{DataError, Record, RecordError};
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Bytes that a line may have unless the caller says otherwise: 16 MiB.
pub const DEFAULT_LINE_LIMIT: usize = 16 << 20;

/// A record and the line that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The line, from 1.
    pub line: usize,
    /// The record.
    pub record: T,
}

/// Reads a JSON Lines file one record at a time, in constant memory.
///
/// Blank lines are skipped, a byte-order mark at the start is too, and lines may end in
/// `\n` or `\r\n`. The first error is the last item. A file without records is an error,
/// for a run on no data is a mistake in every case.
#[derive(Debug)]
pub struct JsonlReader<R, T> {
    source: R,
    path: PathBuf,
    line: usize,
    limit: usize,
    buffer: Vec<u8>,
    found: bool,
    done: bool,
    record: PhantomData<T>,
}

impl<T: Record> JsonlReader<BufReader<File>, T> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let file =
            File::open(path).map_err(|error| DataError::Io { path: path.to_owned(), error })?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: BufRead, T: Record> JsonlReader<R, T> {
    /// Reads from any source; `path` is the name that errors give.
    pub fn new(source: R, path: impl Into<PathBuf>) -> Self {
        Self {
            source,
            path: path.into(),
            line: 0,
            limit: DEFAULT_LINE_LIMIT,
            buffer: Vec::new(),
            found: false,
            done: false,
            record: PhantomData,
        }
    }

    /// The same reader with another limit on the bytes of a line, its end not counted.
    pub fn with_line_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The file that errors name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error at the current line.
    fn locate(&self, fault: RecordError) -> DataError {
        DataError::Record { path: self.path.clone(), line: self.line, fault }
    }

    /// Fills the buffer with the next line, without its end; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, DataError> {
        self.buffer.clear();
        // Two bytes past the limit: room for `\r\n`, and enough to see that a line is too long
        // without reading the rest of it.
        let most = (self.limit as u64).saturating_add(2);
        let read = self.source.by_ref().take(most).read_until(b'\n', &mut self.buffer);
        if read.map_err(|error| DataError::Io { path: self.path.clone(), error })? == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.pop_if(|b| *b == b'\n').is_some() {
            self.buffer.pop_if(|b| *b == b'\r');
        }
        if self.buffer.len() > self.limit {
            return Err(self.locate(RecordError::LineTooLong { limit: self.limit }));
        }
        Ok(true)
    }

    fn next_record(&mut self) -> Result<Option<Located<T>>, DataError> {
        while self.read_line()? {
            let mut bytes = self.buffer.as_slice();
            if self.line == 1 {
                bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let record = parse(bytes).map_err(|e| self.locate(e))?;
            self.found = true;
            return Ok(Some(Located { line: self.line, record }));
        }
        if self.found { Ok(None) } else { Err(DataError::EmptyFile { path: self.path.clone() }) }
    }
}

fn parse<T: Record>(bytes: &[u8]) -> Result<T, RecordError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| RecordError::NotUtf8 { column: e.valid_up_to() + 1 })?;
    match serde_json::from_str(text).map_err(|e| syntax(&e))? {
        Value::Object(object) => T::from_object(object),
        other => Err(RecordError::NotAnObject { found: kind(&other) }),
    }
}

/// The parser's message without its own "at line 1", which is a line of the line.
fn syntax(error: &serde_json::Error) -> RecordError {
    let full = error.to_string();
    let message = full.rsplit_once(" at line ").map_or(full.as_str(), |(m, _)| m).to_owned();
    RecordError::Syntax { column: error.column(), message }
}

impl<R: BufRead, T: Record> Iterator for JsonlReader<R, T> {
    type Item = Result<Located<T>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.next_record().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Writes records to a JSON Lines file, one a line.
///
/// # Errors
/// [`DataError::Io`].
pub fn write_jsonl<T: Serialize>(path: impl AsRef<Path>, records: &[T]) -> Result<(), DataError> {
    let path = path.as_ref();
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for record in records {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|error| DataError::Io { path: path.to_owned(), error })
}
