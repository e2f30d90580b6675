//! Run folders, signals and settings.
