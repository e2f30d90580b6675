//! What people bring and do: files, flags, signals that trainers are known to get wrong, each with the
//! right value or the right refusal.
//!
//! Every check prints a row of a table: `cargo test --workspace --test field -- --nocapture`. A file is
//! one subject; the inputs lie beside it in `inputs/`.

#![allow(clippy::print_stdout, reason = "`--nocapture` shows the table")]

#[path = "../common/mod.rs"]
mod common;

mod checkpoints;
mod conversations;
mod lines;
mod methods;
mod programs;
mod rewards;
mod runs;
mod sandbox;
mod table;
mod tokenizers;
