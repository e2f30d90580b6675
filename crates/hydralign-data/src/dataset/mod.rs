//! Data sets: files of rows, rows as examples, examples as tokens, tokens as batches.

mod batches;
mod content;
mod example;
mod files;
mod format;
mod parquet;
mod published;
mod reader;
mod rows;
mod shuffle;
mod truncate;

pub use batches::{Bins, length_buckets, pack};
pub use content::Content;
pub use example::Example;
pub use files::find_files;
pub use format::Format;
pub use reader::{ReadReport, Reader, UnpairedSequence};
pub use rows::{Row, Rows};
pub use shuffle::ShuffleBuffer;
pub use truncate::Truncation;
