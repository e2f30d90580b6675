//! Data sets: files of rows, rows as examples, examples as tokens, tokens as batches.

mod answer;
mod bad_rows;
mod batches;
mod columns;
mod content;
mod example;
mod files;
mod format;
mod parquet;
mod parts;
mod published;
mod reader;
mod rows;
mod shuffle;
mod truncate;
mod turns;

pub use bad_rows::{OnBadRow, Skipped};
pub use batches::{Bins, length_buckets, pack};
pub use content::Content;
pub use example::Example;
pub use files::find_files;
pub use format::Format;
pub use reader::{PromptSource, ReadReport, Reader, UnpairedSequence};
pub use rows::{Row, RowUnit, Rows};
pub use shuffle::ShuffleBuffer;
pub use truncate::Truncation;
