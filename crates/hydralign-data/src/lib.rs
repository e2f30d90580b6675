//! Tokenizers, chat templates, data sets and deterministic splits.
//!
//! Every fault of a data file is an error that names the file and the line; nothing is
//! truncated, skipped or repaired silently. A response
//! always begins at a token boundary, and the same prompt always has the same tokens.

#![doc = ""]
#![doc = include_str!("../README.md")]

mod chat;
mod configuration;
mod dataset;
mod encode;
mod error;
mod jsonl;
mod preference;
mod records;
mod rng;
mod source;
mod special;
mod split;
mod text_stream;
mod tokenizer;
mod tokenizer_class;
mod tokenizer_config;

pub use chat::{ChatError, ChatTemplate, ChatTokens, Limits, Message, RenderOptions};
pub use dataset::{
    Bins, Content, Example, Format, OnBadRow, PromptSource, ReadReport, Reader, Row, RowUnit, Rows,
    ShuffleBuffer, Skipped, Truncation, UnpairedSequence, find_files, length_buckets, pack,
};
pub use encode::{encode_completion, encode_prompt};
pub use error::{DataError, RecordError};
pub use jsonl::{DEFAULT_LINE_LIMIT, JsonlReader, Located, write_jsonl};
pub use preference::PreferencePair;
pub use records::{DemonstrationRecord, PreferenceRecord, PromptRecord, Record};
pub use rng::CounterRng;
pub use source::TextSource;
pub use special::SpecialTokens;
pub use split::{Split, hold_out, split, split_by_key};
pub use text_stream::TextStream;
pub use tokenizer::TextTokenizer;
