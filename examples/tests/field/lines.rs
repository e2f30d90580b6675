//! Files and their lines.
