//! Bytes of an alignment run: predicted per phase and measured.
