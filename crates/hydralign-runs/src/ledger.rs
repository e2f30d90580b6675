use hydralign_memory::Category;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a run says that it holds, by category. Clones are handles to the same ledger: the run
/// writes into one, and a [`MemoryTimeline`](crate::MemoryTimeline) reads another.
///
/// Only what the meter beside it counts belongs here: vectors on the host are no part of a
/// device's pools.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    held: Rc<RefCell<BTreeMap<Category, u64>>>,
    beside: Rc<Cell<u64>>,
}

impl Ledger {
    /// From now on `bytes` are held for that category, in place of what was before.
    pub fn hold(&self, category: Category, bytes: u64) {
        match bytes {
            0 => self.held.borrow_mut().remove(&category),
            _ => self.held.borrow_mut().insert(category, bytes),
        };
    }

    /// From now on the meter counts `bytes` that are no part of the run: data, a tokenizer,
    /// whatever else the program keeps.
    pub fn set_beside(&self, bytes: u64) {
        self.beside.set(bytes);
    }

    /// What the meter counts and is no part of the run.
    pub fn beside(&self) -> u64 {
        self.beside.get()
    }

    /// From now on nothing is held for any category.
    pub fn clear(&self) {
        self.held.borrow_mut().clear();
    }

    /// What is held now.
    pub fn held(&self) -> BTreeMap<Category, u64> {
        self.held.borrow().clone()
    }
}
