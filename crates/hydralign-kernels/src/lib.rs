//! Operations and allocators that need unsafe code or a backward of their own.
