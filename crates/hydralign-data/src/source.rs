//! Files as text: packed ones unpacked, others told by what they begin with.

use crate::DataError;
use flate2::bufread::MultiGzDecoder;
use hydralign_json::LfsPointer;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// The path that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// Bytes that a file is told by: the mark of a tar archive ends at byte 262.
const HEAD: usize = 512;

/// What a file holds.
pub(crate) enum Source {
    Text(TextSource),
    Parquet,
}

/// The text of a file, unpacked.
pub struct TextSource(Box<dyn BufRead + Send>);

impl fmt::Debug for TextSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextSource")
    }
}

impl Read for TextSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for TextSource {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// Opens a file, or standard input for `-`. What packs it and what it is follow from its first bytes, never
/// from its name.
///
/// # Errors
/// [`DataError::Io`], and [`DataError::NotRows`] for a folder and for a file of another kind.
pub(crate) fn open(path: &Path) -> Result<Source, DataError> {
    let io = |error| DataError::Io { path: path.to_owned(), error };
    let not_rows = |(found, remedy): (&str, &str)| DataError::NotRows {
        path: path.to_owned(),
        found: found.to_owned(),
        remedy: remedy.to_owned(),
    };
    let raw: Box<dyn Read + Send> = if path == Path::new(STDIN) {
        Box::new(io::stdin())
    } else {
        if path.is_dir() {
            return Err(not_rows(("a folder", "name its files, or a pattern such as DIR/*.jsonl")));
        }
        Box::new(File::open(path).map_err(io)?)
    };
    let (head, raw) = peeked(Box::new(BufReader::new(raw))).map_err(io)?;
    let unpacked: Box<dyn Read + Send> = match Packing::of(&head) {
        None if head.starts_with(PARQUET) && path != Path::new(STDIN) => {
            return Ok(Source::Parquet);
        }
        None => return text(&head, raw).map_err(not_rows),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(raw)),
        Some(Packing::Zstd) => Box::new(zstd::Decoder::with_buffer(raw).map_err(io)?),
    };
    let (head, rest) = peeked(Box::new(BufReader::new(unpacked))).map_err(io)?;
    if Packing::of(&head).is_some() {
        return Err(not_rows(("packed twice", "unpack it once")));
    }
    text(&head, rest).map_err(not_rows)
}

const PARQUET: &[u8] = b"PAR1";

enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1F, 0x8B, ..] => Some(Self::Gzip),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Self::Zstd),
            // A frame to be skipped, with which parallel writers begin.
            [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The first bytes of a source, and a source that still has them.
fn peeked(mut source: Box<dyn BufRead + Send>) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut head = Vec::with_capacity(HEAD);
    source.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(source))))
}

/// A source that begins like text.
fn text(
    head: &[u8],
    source: Box<dyn BufRead + Send>,
) -> Result<Source, (&'static str, &'static str)> {
    match other_kind(head) {
        Some(kind) => Err(kind),
        None => Ok(Source::Text(TextSource(source))),
    }
}

const REPACK: &str = "unpack it, or pack its file with gzip or zstd";
const EXPORT: &str = "write its rows as JSON Lines or Parquet";

/// Kinds of files that begin with these bytes.
const KINDS: &[(&[u8], &str, &str)] = &[
    (b"\xFF\xFE", "UTF-16 text", "save it as UTF-8"),
    (b"\xFE\xFF", "UTF-16 text", "save it as UTF-8"),
    (b"PK\x03\x04", "a zip archive", REPACK),
    (b"\xFD7zXZ\x00", "a file packed with xz", REPACK),
    (b"BZh", "a file packed with bzip2", REPACK),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", REPACK),
    (b"\x04\x22\x4D\x18", "a file packed with lz4", REPACK),
    (b"ARROW1", "an Arrow file", "write it with Dataset.to_parquet or Dataset.to_json"),
    (b"\xFF\xFF\xFF\xFF", "an Arrow stream", "write it with Dataset.to_parquet or Dataset.to_json"),
    (b"\x80\x02", "a pickled Python object", EXPORT),
    (b"\x80\x03", "a pickled Python object", EXPORT),
    (b"\x80\x04", "a pickled Python object", EXPORT),
    (b"\x80\x05", "a pickled Python object", EXPORT),
    (b"\x93NUMPY", "a NumPy array", EXPORT),
    (b"\x89HDF", "an HDF5 file", EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", EXPORT),
    (PARQUET, "Parquet that is packed or comes from a pipe", "give it as a file of its own"),
    (LfsPointer::HEAD, LfsPointer::FOUND, LfsPointer::REMEDY),
];

fn other_kind(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let kind = KINDS.iter().find(|(magic, ..)| head.starts_with(magic));
    if let Some(&(_, found, remedy)) = kind {
        return Some((found, remedy));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(("a tar archive", REPACK));
    }
    let wide = |pair: &[u8]| matches!(pair, [0, b'{' | b'['] | [b'{' | b'[', 0]);
    if head.get(..2).is_some_and(wide) {
        return Some(("UTF-16 text", "save it as UTF-8"));
    }
    let start = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let begins =
        |word: &[u8]| start.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
    if begins(b"<!doctype") || begins(b"<html") {
        let remedy =
            "download the data themselves: on the Hub `resolve` stands where pages say `blob`";
        return Some(("an HTML page", remedy));
    }
    start.starts_with(b"<").then_some(("XML", EXPORT))
}
