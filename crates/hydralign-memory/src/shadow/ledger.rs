//! The book in which simulated buffers are counted.

use crate::profile::{Bookkeeping, Kernels, Packing};
use crate::{Category, MemoryError, Profile};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const CATEGORIES: usize = Category::ALL.len();

/// Bytes by category, now and at the highest moment since the last reset.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    live: RefCell<[u64; CATEGORIES]>,
    total: Cell<u64>,
    peak: RefCell<[u64; CATEGORIES]>,
    peak_total: Cell<u64>,
    scope: Cell<Category>,
    overflow: Cell<Option<&'static str>>,
    kernels: Kernels,
    packing: Option<Packing>,
    bookkeeping: Bookkeeping,
}

/// Bytes by category, in table order.
pub(crate) type Lines = Vec<(Category, u64)>;

/// A ledger that buffers share.
pub(crate) type Book = Rc<Ledger>;

impl Ledger {
    /// An empty book for a backend.
    pub(crate) fn new(profile: &Profile) -> Self {
        let &Profile { kernels, packing, bookkeeping, .. } = profile;
        Self { kernels, packing, bookkeeping, ..Self::default() }
    }

    /// What the library keeps for one thing.
    pub(crate) fn entry(self: &Rc<Self>, of: impl FnOnce(&Bookkeeping) -> u64) -> Buffer {
        self.under(Category::Bookkeeping, || Buffer::new(self, of(&self.bookkeeping)))
    }

    pub(crate) fn kernels(&self) -> Kernels {
        self.kernels
    }

    pub(crate) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    /// The category that new buffers are counted under.
    pub(crate) fn scope(&self) -> Category {
        self.scope.get()
    }

    /// Runs something with new buffers counted under a category.
    pub(crate) fn under<T>(&self, category: Category, run: impl FnOnce() -> T) -> T {
        let before = self.scope.replace(category);
        let result = run();
        self.scope.set(before);
        result
    }

    fn grow(&self, category: Category, bytes: u64) {
        if self.overflow.get().is_some() {
            return;
        }
        let Some(total) = self.total.get().checked_add(bytes) else {
            return self.overflows("a phase");
        };
        self.total.set(total);
        // Never above the total, which is known to fit.
        self.live.borrow_mut()[category as usize] += bytes;
        if total > self.peak_total.get() {
            self.peak_total.set(total);
            *self.peak.borrow_mut() = *self.live.borrow();
        }
    }

    fn shrink(&self, category: Category, bytes: u64) {
        self.total.set(self.total.get().saturating_sub(bytes));
        let mut live = self.live.borrow_mut();
        live[category as usize] = live[category as usize].saturating_sub(bytes);
    }

    /// Remembers that a size did not fit into 64 bits; what follows is meaningless and is not counted.
    pub(crate) fn overflows(&self, what: &'static str) {
        self.overflow.set(Some(what));
    }

    /// Starts a new peak at what is live now.
    pub(crate) fn reset_peak(&self) {
        self.peak_total.set(self.total.get());
        *self.peak.borrow_mut() = *self.live.borrow();
    }

    /// Bytes that are live now, by category.
    ///
    /// # Errors
    /// As [`Ledger::peak`].
    pub(crate) fn live(&self) -> Result<Lines, MemoryError> {
        match self.overflow.get() {
            Some(what) => Err(MemoryError::Overflow { what }),
            None => Ok(pairs(&self.live.borrow())),
        }
    }

    /// Bytes at the highest moment since the last reset, by category.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`] if any size did not fit.
    pub(crate) fn peak(&self) -> Result<Lines, MemoryError> {
        match self.overflow.get() {
            Some(what) => Err(MemoryError::Overflow { what }),
            None => Ok(pairs(&self.peak.borrow())),
        }
    }
}

fn pairs(bytes: &[u64; CATEGORIES]) -> Lines {
    Category::ALL.into_iter().map(|c| (c, bytes[c as usize])).collect()
}

/// A block of memory that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: u64,
    category: Cell<Category>,
    book: Book,
}

impl Buffer {
    /// A block in the ledger's present scope.
    pub(crate) fn new(book: &Book, bytes: u64) -> Self {
        let category = book.scope();
        book.grow(category, bytes);
        if category == Category::Gradients {
            book.grow(Category::Bookkeeping, book.bookkeeping.gradient);
        }
        Self { bytes, category: Cell::new(category), book: book.clone() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn category(&self) -> Category {
        self.category.get()
    }

    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Counts it under another category from now on. A gradient has an entry on the host.
    pub(crate) fn recount(&self, category: Category) {
        let before = self.category.replace(category);
        if before == category || self.book.overflow.get().is_some() {
            return;
        }
        {
            let mut live = self.book.live.borrow_mut();
            live[before as usize] = live[before as usize].saturating_sub(self.bytes);
            live[category as usize] += self.bytes;
        }
        self.forget(before);
        if category == Category::Gradients {
            self.book.grow(Category::Bookkeeping, self.book.bookkeeping.gradient);
        }
    }

    /// Ends the entry that it had in a category.
    fn forget(&self, category: Category) {
        if category == Category::Gradients {
            self.book.shrink(Category::Bookkeeping, self.book.bookkeeping.gradient);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.book.shrink(self.category.get(), self.bytes);
        self.forget(self.category.get());
    }
}
