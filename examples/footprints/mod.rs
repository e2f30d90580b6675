//! The table of methods and models: which ones, what they need, and how it is written.

mod rows;
mod select;
mod write;

pub use rows::{CARDS, ModelRows, Question, Row};
pub use select::{Model, methods, models, number_format};
pub use write::{csv, markdown, svg};
