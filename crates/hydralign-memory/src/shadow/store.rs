//! Parameters as buffers, and the optimizer's step on them.

use super::flat::Flat;
use super::ledger::{Book, Buffer};
use super::tape::{Node, Tape, Var};
use crate::Category;
use std::cell::RefCell;
use std::rc::Rc;

/// Bytes of a number in a moment, whatever the parameter's own format.
const MOMENT: u64 = 4;

/// Index of a parameter in its [`Store`].
pub(crate) type Id = usize;

struct Slot {
    flat: Option<Flat>,
    trained: bool,
    node: Option<Node>,
    moments: Option<[Flat; 2]>,
    entries: Vec<Buffer>,
}

/// Every parameter, in the order in which the module visits them.
pub(crate) struct Store {
    slots: RefCell<Vec<Slot>>,
    tape: Rc<Tape>,
    book: Book,
    /// Bytes of a number of an activation.
    compute: u64,
}

impl Store {
    pub(crate) fn new(book: &Book, tape: &Rc<Tape>, compute: u64) -> Self {
        let (book, tape) = (book.clone(), tape.clone());
        Self { slots: RefCell::default(), tape, book, compute }
    }

    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    pub(crate) fn make(&self, dims: &[u64], width: u64, trained: bool) -> Id {
        let flat = Some(Flat::new(&self.book, dims, width));
        let mut slots = self.slots.borrow_mut();
        let entries = vec![self.book.entry(|b| if trained { b.trained } else { b.frozen })];
        slots.push(Slot { flat, trained, node: None, moments: None, entries });
        slots.len() - 1
    }

    /// A parameter for use: tracked where it is trained and a graph is wanted, and in the number format
    /// of the activations.
    pub(crate) fn get(&self, id: Id, graph: bool) -> Var {
        self.held(id, graph).cast(self.compute)
    }

    /// A parameter in the number format that it is held in.
    pub(crate) fn held(&self, id: Id, graph: bool) -> Var {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[id];
        let flat = slot.flat.clone().expect("a parameter is away only during its own step");
        if !(graph && slot.trained) {
            return Var::constant(flat);
        }
        let var = match &slot.node {
            Some(node) => Var::at(flat, node),
            None => {
                let (var, node) = self.tape.leaf(flat);
                slot.node = Some(node);
                var
            }
        };
        var.cast(self.compute)
    }

    /// Bytes of a number of an activation.
    pub(crate) fn compute(&self) -> u64 {
        self.compute
    }

    pub(crate) fn tape(&self) -> &Rc<Tape> {
        &self.tape
    }

    pub(crate) fn is_trained(&self, id: Id) -> bool {
        self.slots.borrow()[id].trained
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.borrow().len()
    }

    /// The graph's place of a parameter, if it was ever used with a graph.
    pub(crate) fn node(&self, id: Id) -> Option<Node> {
        self.slots.borrow()[id].node.clone()
    }

    /// The moments of every trained parameter, as they are after the first step.
    pub(crate) fn start_optimizer(&self) {
        self.book.under(Category::Optimizer, || {
            for slot in self.slots.borrow_mut().iter_mut().filter(|s| s.trained) {
                let moment = |t: &Flat| Flat::new(&self.book, t.dims(), MOMENT);
                slot.moments = slot.flat.as_ref().map(|t| [moment(t), moment(t)]);
                slot.entries.push(self.book.entry(|b| b.state));
            }
        });
    }

    /// What names the trained parameters in a checkpoint.
    pub(crate) fn record(&self) -> Vec<Buffer> {
        let slots = self.slots.borrow();
        slots.iter().filter(|s| s.trained).map(|_| self.book.entry(|b| b.record)).collect()
    }

    /// AdamW on one parameter: burn-optim 0.22, `AdaptiveMomentumW::transform` and `AdamW::step`.
    pub(crate) fn step(&self, id: Id, gradient: Flat) {
        let (tensor, moments) = {
            let mut slots = self.slots.borrow_mut();
            (slots[id].flat.take(), slots[id].moments.take())
        };
        let Some(tensor) = tensor else { return };
        let [first, second] = match moments {
            Some([first, second]) => {
                let first = first.unary().binary(gradient.clone().unary());
                let squared = gradient.clone().binary(gradient).unary();
                [first, second.unary().binary(squared)]
            }
            None => {
                let first = gradient.clone().unary();
                [first, gradient.clone().binary(gradient).unary()]
            }
        };
        let corrected = first.clone().unary();
        let root = second.clone().unary();
        let delta = corrected.binary(root);
        let updated = tensor.clone().binary(delta);
        updated.recount(tensor.category());
        drop(tensor);
        first.recount(Category::Optimizer);
        second.recount(Category::Optimizer);
        let slot = &mut self.slots.borrow_mut()[id];
        (slot.flat, slot.moments) = (Some(updated), Some([first, second]));
    }
}
