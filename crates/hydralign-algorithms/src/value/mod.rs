//! Fitting values of prefixes: what guides decoding, and the Q of SPR's token-level form.

mod prefix;

pub use prefix::{PrefixBatch, PrefixRegression, prefix_batch};
