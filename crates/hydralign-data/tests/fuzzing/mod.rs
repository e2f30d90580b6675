//! What the tests with damaged inputs share: seeded changes, and a count of what is in use.

use hydralign_core::random::bits;
use hydralign_kernels::CountingAllocator;
use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Damaged inputs for each reader: few, or as many as a step of its own has time for where
/// `HYDRALIGN_FULL_TESTS` is set.
pub(crate) fn inputs() -> u64 {
    if std::env::var_os("HYDRALIGN_FULL_TESTS").is_some() { 100_000 } else { 3_000 }
}

/// The counter is one for the process: one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that a seed and a place determine.
pub(crate) struct Source {
    seed: u64,
    at: u64,
}

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, at: 0 }
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.at += 1;
        (bits(self.seed, 0, self.at) % n.max(1) as u64) as usize
    }

    /// One to four changes: flips, cuts, copies, and words put in or over what is there.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>, words: &[&[u8]]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            let end = bytes.len().min(at + self.below(40));
            match self.below(8) {
                0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                3 => bytes.truncate(at),
                4 => drop(bytes.drain(at..end)),
                5 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ => {
                    let word = words[self.below(words.len())];
                    // In front of what is there, or over it.
                    let over = bytes.len().min(at + word.len() * self.below(2));
                    bytes.splice(at..over, word.iter().copied());
                }
            }
        }
    }
}

/// A file that is written again and again in place: file systems flush one that is cut to nothing
/// and written anew.
pub(crate) struct Target(File);

impl Target {
    pub(crate) fn new(path: &Path, original: &[u8]) -> Self {
        std::fs::write(path, original).unwrap();
        Self(OpenOptions::new().write(true).open(path).unwrap())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.rewind().unwrap();
        self.0.write_all(bytes).unwrap();
        self.0.set_len(bytes.len() as u64).unwrap();
    }
}

/// Runs a reader; its result, and the most bytes that it had in use.
pub(crate) fn peak_of<T>(read: impl FnOnce() -> T) -> (T, u64) {
    let live = CountingAllocator::live();
    CountingAllocator::reset_peak();
    let result = read();
    (result, CountingAllocator::peak() - live)
}
