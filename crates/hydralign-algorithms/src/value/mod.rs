//! Fitting values of prefixes: what guides decoding, and the Q of SPR's token-level form.

mod ilql;
mod prefix;

pub use ilql::{Ilql, IlqlBatch, IlqlRow, ilql_batch};
pub use prefix::{PrefixBatch, PrefixRegression, prefix_batch};
