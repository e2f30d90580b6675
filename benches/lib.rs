//! Fixed shapes and seeded inputs of the benches.
