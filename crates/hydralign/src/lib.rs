//! Facade: the crates of hydralign under one name, and a prelude.
