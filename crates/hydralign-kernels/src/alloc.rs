use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The most that `LIVE` has been since the last reset.
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system allocator with an exact count of the bytes that the program holds.
///
/// Counted is what was *asked for* (`Layout::size`), not what the system rounds it up to, nor
/// the second copy that a moving `realloc` may hold for a moment. The counts are of the
/// process; they stay zero unless a binary installs the allocator:
///
/// ```
/// use hydralign_kernels::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator::new();
/// ```
///
/// Each call costs one atomic addition, and a second atomic operation when the peak rises.
#[derive(Debug, Default)]
pub struct CountingAllocator {
    _private: (),
}

impl CountingAllocator {
    /// The allocator, for a `#[global_allocator]` static.
    pub const fn new() -> Self {
        Self { _private: () }
    }

    /// Bytes allocated and not yet freed.
    pub fn live() -> u64 {
        LIVE.load(SeqCst) as u64
    }

    /// The most bytes that were live at once since the start or the last [`reset_peak`].
    ///
    /// [`reset_peak`]: Self::reset_peak
    pub fn peak() -> u64 {
        // A reset on another thread may be between its two steps: the peak is never below live.
        PEAK.load(SeqCst).max(LIVE.load(SeqCst)) as u64
    }

    /// Starts a new peak at what is live now.
    pub fn reset_peak() {
        // Zero first, then raise: an allocation that races with this either is in `LIVE` by
        // the time that it is read here, or raises the new peak itself.
        PEAK.store(0, SeqCst);
        PEAK.fetch_max(LIVE.load(SeqCst), SeqCst);
    }
}

/// Counts `size` more bytes. Called after the block exists and before its owner has it, so that
/// no other thread can free it first: `LIVE` never wraps.
fn grow(size: usize) {
    let live = LIVE.fetch_add(size, SeqCst) + size;
    if live > PEAK.load(SeqCst) {
        PEAK.fetch_max(live, SeqCst);
    }
}

/// Counts `size` fewer bytes. Called after the block is gone.
fn shrink(size: usize) {
    LIVE.fetch_sub(size, SeqCst);
}

// SAFETY: every method hands its arguments unchanged to `System` and returns what that returns,
// so `System`'s own guarantees hold. The counting beside it touches two atomics: it does not
// allocate, cannot unwind and never looks at the memory.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a layout of non-zero size.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            grow(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Not the trait's default, which would write the zeros: fresh pages are zero already.
        // SAFETY: the caller promises a layout of non-zero size.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            grow(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that the block came from this allocator, hence from
        // `System`, with this layout.
        unsafe { System.dealloc(block, layout) };
        shrink(layout.size());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the block came from this allocator, hence from
        // `System`, with this layout, and that `new_size` is valid for its alignment.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        if moved.is_null() {
            return moved; // The old block still stands.
        }
        match new_size.checked_sub(layout.size()) {
            Some(more) => grow(more),
            None => shrink(layout.size() - new_size),
        }
        moved
    }
}
