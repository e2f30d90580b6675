use crate::records::kind;
use crate::source::{self, Source, TextSource};
use crate::{DataError, Record, RecordError};
use hydralign_json::{NonFinite, Parsed};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Bytes that a line may have unless the caller says otherwise: 16 MiB.
pub const DEFAULT_LINE_LIMIT: usize = 16 << 20;

/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A record and the line that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The line, or the element of an array, from 1.
    pub line: usize,
    /// The record.
    pub record: T,
}

/// How records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Nothing has been read.
    Unread,
    /// One object a line.
    Lines,
    /// One array of objects.
    Array,
    /// The array has ended.
    Ended,
}

/// Reads a JSON Lines file, or a JSON array of objects, one record at a time, in constant memory.
///
/// Blank lines are skipped, a byte-order mark at the start is too, and lines may end in
/// `\n` or `\r\n`. NaN and infinities may stand where numbers may, and are `null` in the record
/// ([`JsonlReader::non_finite`]). The first error is the last item, unless the reader goes on behind
/// faulty records ([`JsonlReader::past_faults`]). A file without records is an error,
/// for a run on no data is a mistake in every case.
#[derive(Debug)]
pub struct JsonlReader<R, T> {
    source: R,
    path: PathBuf,
    layout: Layout,
    line: usize,
    limit: usize,
    buffer: Vec<u8>,
    non_finite: Vec<NonFinite>,
    past_faults: bool,
    found: bool,
    done: bool,
    record: PhantomData<T>,
}

impl<T: Record> JsonlReader<TextSource, T> {
    /// Opens a file, packed with gzip or Zstandard or not at all; `-` is standard input.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::NotRows`] for a folder and a file of another kind.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        match source::open(path)? {
            Source::Text(text) if path == Path::new(source::STDIN) => {
                Ok(Self::new(text, "standard input"))
            }
            Source::Text(text) => Ok(Self::new(text, path)),
            Source::Parquet => Err(not_rows(path, "Parquet", "read it with `Rows`")),
        }
    }
}

impl<R: BufRead, T: Record> JsonlReader<R, T> {
    /// Reads from any source; `path` is the name that errors give.
    pub fn new(source: R, path: impl Into<PathBuf>) -> Self {
        Self {
            source,
            path: path.into(),
            layout: Layout::Unread,
            line: 0,
            limit: DEFAULT_LINE_LIMIT,
            buffer: Vec::new(),
            non_finite: Vec::new(),
            past_faults: false,
            found: false,
            done: false,
            record: PhantomData,
        }
    }

    /// The same reader with another limit on the bytes of a line, its end not counted, or of an element.
    pub fn with_line_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The same reader, which goes on behind records that are faulty by themselves.
    pub fn past_faults(mut self, on: bool) -> Self {
        self.past_faults = on;
        self
    }

    /// The file that errors name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the records are elements of an array; known once one was read.
    pub fn is_array(&self) -> bool {
        matches!(self.layout, Layout::Array | Layout::Ended)
    }

    /// The numbers of the last record that are not finite, which are `null` in it.
    pub fn non_finite(&self) -> &[NonFinite] {
        &self.non_finite
    }

    /// An error at the current line or element.
    fn locate(&self, fault: RecordError) -> DataError {
        let path = self.path.clone();
        match self.is_array() {
            true => DataError::Element { path, element: self.line, fault },
            false => DataError::Record { path, line: self.line, fault },
        }
    }

    fn io(&self, error: io::Error) -> DataError {
        DataError::Io { path: self.path.clone(), error }
    }

    /// Goes to the next byte that is not blank, which is returned and not taken; counts the lines that are
    /// passed, and leaves what the line of that byte begins with in the buffer.
    fn skip_blank(&mut self) -> Result<Option<u8>, DataError> {
        let mut mark: &[u8] = if self.layout == Layout::Unread { BYTE_ORDER_MARK } else { &[] };
        loop {
            let byte = match self.source.fill_buf() {
                Ok(bytes) => bytes.first().copied(),
                Err(error) => return Err(self.io(error)),
            };
            let Some(byte) = byte else { return Ok(None) };
            let marked = mark.first() == Some(&byte);
            if !marked && !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            mark = if marked { &mark[1..] } else { &[] };
            self.source.consume(1);
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.buffer.clear();
                }
                _ if marked => {}
                _ => self.buffer.push(byte),
            }
            if self.buffer.len() > self.limit.saturating_add(1) {
                self.line += 1;
                return Err(self.locate(RecordError::LineTooLong { limit: self.limit }));
            }
        }
    }

    /// Tells lines from an array.
    fn begin(&mut self) -> Result<(), DataError> {
        self.layout = match self.skip_blank()? {
            Some(b'[') => {
                self.source.consume(1);
                self.line = 0;
                self.buffer.clear();
                Layout::Array
            }
            _ => Layout::Lines,
        };
        Ok(())
    }

    /// Adds the rest of the line to the buffer, without its end; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, DataError> {
        // Two bytes past the limit: room for `\r\n`, and enough to see that a line is too long
        // without reading the rest of it.
        let most = (self.limit as u64).saturating_add(2).saturating_sub(self.buffer.len() as u64);
        let read = self.source.by_ref().take(most).read_until(b'\n', &mut self.buffer);
        if read.map_err(|error| self.io(error))? == 0 && self.buffer.is_empty() {
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

    fn next_line(&mut self) -> Result<Option<Located<T>>, DataError> {
        while self.read_line()? {
            let bytes = std::mem::take(&mut self.buffer);
            if !bytes.trim_ascii().is_empty() {
                return self.parsed(&bytes).map(Some);
            }
        }
        Ok(None)
    }

    /// The next element of the array.
    fn next_element(&mut self) -> Result<Option<Located<T>>, DataError> {
        self.buffer.clear();
        let mut scan = Scan::default();
        let end = loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) => return Err(self.io(error)),
            };
            let end = bytes.iter().position(|&b| scan.ends(b));
            let (taken, last) = (end.unwrap_or(bytes.len()), end.map(|at| bytes[at]));
            self.buffer.extend_from_slice(&bytes[..taken]);
            let at_end = bytes.is_empty();
            self.source.consume(taken + usize::from(end.is_some()));
            if self.buffer.len() > self.limit {
                self.line += 1;
                return Err(self.locate(RecordError::LineTooLong { limit: self.limit }));
            }
            if at_end || last.is_some() {
                break last;
            }
        };
        let bytes = std::mem::take(&mut self.buffer);
        if end == Some(b']') {
            self.layout = Layout::Ended;
            if self.line == 0 && bytes.trim_ascii().is_empty() {
                return self.end();
            }
        }
        self.line += 1;
        if end.is_none() {
            return Err(not_rows(&self.path, "a JSON array that does not end", "it was cut off"));
        }
        self.parsed(bytes.trim_ascii()).map(Some)
    }

    /// Nothing but blanks may follow the array.
    fn end(&mut self) -> Result<Option<Located<T>>, DataError> {
        match self.skip_blank()? {
            None => Ok(None),
            Some(_) => {
                let found = "text behind the end of a JSON array";
                Err(not_rows(&self.path, found, "give one object a line, or one array"))
            }
        }
    }

    fn parsed(&mut self, bytes: &[u8]) -> Result<Located<T>, DataError> {
        let first = !std::mem::replace(&mut self.found, true);
        let line = self.line;
        let parsed = parse(bytes);
        if let (true, Layout::Lines, Err(RecordError::Syntax { .. })) =
            (first, self.layout, &parsed)
            && let Some((found, remedy)) = self.other_text(bytes)?
        {
            return Err(not_rows(&self.path, &found, remedy));
        }
        let made = parsed.and_then(|parsed| match parsed.value {
            Value::Object(object) => {
                self.non_finite = parsed.non_finite;
                T::from_object(object)
            }
            other => Err(RecordError::NotAnObject { found: kind(&other) }),
        });
        match made {
            Ok(record) => Ok(Located { line, record }),
            Err(fault) => Err(self.locate_at(line, fault)),
        }
    }

    /// An error at a line that was read earlier.
    fn locate_at(&mut self, line: usize, fault: RecordError) -> DataError {
        let now = std::mem::replace(&mut self.line, line);
        let error = self.locate(fault);
        self.line = now;
        error
    }

    /// What a text is whose first line is no JSON, and whose next line is no object either.
    fn other_text(&mut self, line: &[u8]) -> Result<Option<(String, &'static str)>, DataError> {
        let (line, number) = (line.trim_ascii(), self.line);
        let next = self.skip_blank()?;
        if next == Some(b'{') {
            return Ok(None);
        }
        if line.first() != Some(&b'{') {
            let named = self.path.extension().is_some_and(|e| e == "csv" || e == "tsv");
            return Ok(Some(match named || is_header(line) {
                true => ("CSV, not JSON Lines".into(), "write its rows as JSON Lines or Parquet"),
                false => (format!("line {number} is not JSON"), "give one JSON object a line"),
            }));
        }
        let open = matches!(serde_json::from_slice::<IgnoredAny>(line), Err(e) if e.is_eof());
        let indented = (
            "a JSON object over several lines".to_owned(),
            "give one object a line, or an array of objects",
        );
        Ok((open && next.is_some()).then_some(indented))
    }

    fn next_record(&mut self) -> Result<Option<Located<T>>, DataError> {
        if self.layout == Layout::Unread {
            self.begin()?;
        }
        let next = match self.layout {
            Layout::Array => self.next_element()?,
            Layout::Ended => self.end()?,
            Layout::Unread | Layout::Lines => self.next_line()?,
        };
        match next {
            None if !self.found => Err(DataError::EmptyFile { path: self.path.clone() }),
            next => Ok(next),
        }
    }
}

/// Whether a line names columns.
fn is_header(line: &[u8]) -> bool {
    let names: Vec<&[u8]> = line.split(|b| b",;\t".contains(b)).collect();
    let is_name = |name: &[u8]| !name.is_empty() && !name.contains(&b' ');
    names.len() > 1 && names.into_iter().all(is_name)
}

/// Follows JSON to the end of an element.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Whether a byte ends the element.
    fn ends(&mut self, byte: u8) -> bool {
        match (self.in_string, byte) {
            _ if self.escaped => self.escaped = false,
            (true, b'\\') => self.escaped = true,
            (_, b'"') => self.in_string = !self.in_string,
            (true, _) => {}
            (false, b',' | b']') if self.depth == 0 => return true,
            (false, b'[' | b'{') => self.depth += 1,
            (false, b']' | b'}') => self.depth = self.depth.saturating_sub(1),
            (false, _) => {}
        }
        false
    }
}

fn not_rows(path: &Path, found: &str, remedy: &str) -> DataError {
    DataError::NotRows { path: path.to_owned(), found: found.into(), remedy: remedy.into() }
}

fn parse(bytes: &[u8]) -> Result<Parsed, RecordError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| RecordError::NotUtf8 { column: e.valid_up_to() + 1 })?;
    hydralign_json::parse(text).map_err(|e| syntax(&e.to_string()))
}

/// The parser's message with the column alone: its line is a line of the line.
fn syntax(full: &str) -> RecordError {
    let (message, place) = full.rsplit_once(" at line ").unwrap_or((full, ""));
    let column = place.rsplit_once(" column ").and_then(|(_, column)| column.parse().ok());
    let half = message.contains("surrogate") || message == "unexpected end of hex escape";
    let message = match half {
        true => "an escaped half of a surrogate pair, which is no character",
        false => message,
    };
    RecordError::Syntax { column: column.unwrap_or(0), message: message.to_owned() }
}

impl<R: BufRead, T: Record> Iterator for JsonlReader<R, T> {
    type Item = Result<Located<T>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        self.non_finite.clear();
        let item = self.next_record().transpose();
        self.done = match &item {
            Some(Ok(_)) => false,
            Some(Err(error)) => !(self.past_faults && error.is_of_one_record()),
            None => true,
        };
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
