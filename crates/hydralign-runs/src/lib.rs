//! Recipe configuration, run folders, metrics, progress and plots.
