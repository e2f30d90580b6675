//! Methods and their flags.
