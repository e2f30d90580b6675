//! The graph: what each operation keeps for its backward step, and what that step allocates.

use super::flat::Flat;
use super::ledger::{Book, Buffer};
use crate::Category;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Gradients by node.
#[derive(Default)]
pub(crate) struct Grads(BTreeMap<u64, Flat>);

impl Grads {
    /// Takes the gradient of a node out.
    pub(crate) fn take(&mut self, node: &Node) -> Option<Flat> {
        self.0.remove(&node.id)
    }

    fn add(&mut self, node: &Node, value: Flat) {
        let sum = match self.0.remove(&node.id) {
            Some(old) => value.binary(old),
            None => value,
        };
        if node.leaf {
            sum.recount(Category::Gradients);
        }
        self.0.insert(node.id, sum);
    }
}

type Run = Box<dyn FnOnce(Flat, &mut Grads)>;

struct Step {
    node: Node,
    scope: Category,
    run: Run,
    _entry: Buffer,
}

/// Steps of every tracked operation so far.
pub(crate) struct Tape {
    book: Book,
    steps: RefCell<Vec<Step>>,
    next: Cell<u64>,
}

/// A tracked tensor's place in the graph.
#[derive(Clone)]
pub(crate) struct Node {
    id: u64,
    order: u64,
    leaf: bool,
    tape: Rc<Tape>,
}

impl Tape {
    pub(crate) fn new(book: &Book) -> Rc<Self> {
        Rc::new(Self { book: book.clone(), steps: RefCell::default(), next: Cell::new(0) })
    }

    fn node(self: &Rc<Self>, order: u64, leaf: bool) -> Node {
        let id = self.next.get();
        self.next.set(id + 1);
        Node { id, order, leaf, tape: self.clone() }
    }

    /// A state that a gradient is wanted of, where a graph begins.
    pub(crate) fn input(self: &Rc<Self>, flat: Flat) -> (Var, Node) {
        let node = self.node(0, false);
        (Var { flat, node: Some(node.clone()) }, node)
    }

    /// A parameter that a gradient is wanted of.
    pub(crate) fn leaf(self: &Rc<Self>, flat: Flat) -> (Var, Node) {
        let node = self.node(0, true);
        (Var { flat, node: Some(node.clone()) }, node)
    }

    fn push(&self, node: Node, run: Run) {
        let _entry = self.book.entry(|b| b.operation);
        self.steps.borrow_mut().push(Step { node, scope: self.book.scope(), run, _entry });
    }
}

/// A tensor that may be tracked.
#[derive(Clone)]
pub(crate) struct Var {
    pub(crate) flat: Flat,
    node: Option<Node>,
}

impl Var {
    pub(crate) fn constant(flat: Flat) -> Self {
        Self { flat, node: None }
    }

    /// A tensor at a place that the graph knows already.
    pub(crate) fn at(flat: Flat, node: &Node) -> Self {
        Self { flat, node: Some(node.clone()) }
    }

    pub(crate) fn dims(&self) -> &[u64] {
        self.flat.dims()
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Runs the graph backwards from here, from the deepest operation to the shallowest; a step is
    /// freed with all that it keeps once it has run.
    pub(crate) fn backward(self) -> Grads {
        let mut grads = Grads::default();
        let Some(root) = self.node else { return grads };
        let book = root.tape.book.clone();
        let mut steps = std::mem::take(&mut *root.tape.steps.borrow_mut());
        let ones = book
            .under(Category::Workspace, || Flat::new(&book, self.flat.dims(), self.flat.width()));
        drop(self.flat);
        grads.add(&root, ones);
        steps.sort_by_key(|s| s.node.order);
        let mut others = Vec::new();
        while let Some(step) = steps.pop() {
            let Some(gradient) = grads.take(&step.node) else {
                others.push(step);
                continue;
            };
            let scope = match step.scope {
                Category::Logits => Category::Logits,
                _ => Category::Workspace,
            };
            let run = step.run;
            book.under(scope, || run(gradient, &mut grads));
        }
        // What does not lead here is another pass's graph.
        *root.tape.steps.borrow_mut() = others;
        grads
    }

    pub(super) fn op1(
        self,
        keep: bool,
        forward: impl FnOnce(Flat) -> Flat,
        backward: impl FnOnce(Option<Flat>, Flat) -> Flat + 'static,
    ) -> Self {
        let Some(parent) = self.node else { return Self::constant(forward(self.flat)) };
        let kept = keep.then(|| self.flat.clone());
        let flat = forward(self.flat);
        let node = parent.tape.node(parent.order + 1, false);
        let tape = parent.tape.clone();
        let run = move |gradient: Flat, grads: &mut Grads| {
            let gradient = backward(kept, gradient);
            grads.add(&parent, gradient);
        };
        tape.push(node.clone(), Box::new(run));
        Self { flat, node: Some(node) }
    }

    /// `left` and `right` map the other operand (if it was kept) and the gradient.
    pub(super) fn op2(
        self,
        other: Self,
        keep: bool,
        forward: impl FnOnce(Flat, Flat) -> Flat,
        left: impl FnOnce(Option<Flat>, Flat) -> Flat + 'static,
        right: impl FnOnce(Option<Flat>, Flat) -> Flat + 'static,
    ) -> Self {
        let tape = match (&self.node, &other.node) {
            (Some(node), _) | (None, Some(node)) => node.tape.clone(),
            (None, None) => return Self::constant(forward(self.flat, other.flat)),
        };
        let kept_left = (keep && other.node.is_some()).then(|| self.flat.clone());
        let kept_right = (keep && self.node.is_some()).then(|| other.flat.clone());
        let (dims_left, dims_right) = (self.dims().to_vec(), other.dims().to_vec());
        let flat = forward(self.flat, other.flat);
        let order = |node: &Option<Node>| node.as_ref().map_or(0, |n| n.order);
        let node = tape.node(order(&self.node).max(order(&other.node)) + 1, false);
        let (to_left, to_right) = (self.node, other.node);
        let run = move |gradient: Flat, grads: &mut Grads| {
            let (for_left, for_right) = match (&to_left, &to_right) {
                (Some(_), Some(_)) => (Some(gradient.clone()), Some(gradient)),
                (Some(_), None) => (Some(gradient), None),
                _ => (None, Some(gradient)),
            };
            if let (Some(node), Some(gradient)) = (to_left, for_left) {
                grads.add(&node, fold(left(kept_right, gradient), &dims_left));
            }
            if let (Some(node), Some(gradient)) = (to_right, for_right) {
                grads.add(&node, fold(right(kept_left, gradient), &dims_right));
            }
        };
        tape.push(node.clone(), Box::new(run));
        Self { flat, node: Some(node) }
    }

    /// One kernel over several operands: the graph keeps what is named, and each tracked operand
    /// gets a gradient of its own size.
    pub(crate) fn kernel(operands: Vec<Self>, result: Flat, kept: Vec<Flat>) -> Self {
        let tracked = |operand: Self| operand.node.map(|node| (node, operand.flat.dims().to_vec()));
        let targets: Vec<(Node, Vec<u64>)> = operands.into_iter().filter_map(tracked).collect();
        let Some((first, _)) = targets.first().cloned() else { return Self::constant(result) };
        let order = targets.iter().map(|(node, _)| node.order).max().unwrap_or(0);
        let node = first.tape.node(order + 1, false);
        let run = move |gradient: Flat, grads: &mut Grads| {
            for (node, dims) in targets {
                grads.add(&node, Flat::new(gradient.book(), &dims, gradient.width()));
            }
            drop(kept);
        };
        first.tape.push(node.clone(), Box::new(run));
        Self { flat: result, node: Some(node) }
    }

    /// This and others side by side along the last dimension; the gradients are views.
    pub(crate) fn cat(self, others: Vec<Self>) -> Self {
        let last = self.dims().len() - 1;
        let parts: Vec<Self> = std::iter::once(self).chain(others).collect();
        let nodes: Vec<Option<Node>> = parts.iter().map(|p| p.node.clone()).collect();
        let widths: Vec<u64> = parts.iter().map(|p| p.dims()[last]).collect();
        let flat = Flat::cat(&parts[0].flat, widths.iter().sum());
        drop(parts);
        let Some(first) = nodes.iter().flatten().next().cloned() else {
            return Self::constant(flat);
        };
        let order = nodes.iter().flatten().map(|n| n.order).max().unwrap_or(0);
        let node = first.tape.node(order + 1, false);
        let run = move |gradient: Flat, grads: &mut Grads| {
            let mut start = 0;
            for (node, width) in nodes.into_iter().zip(widths) {
                if let Some(node) = node {
                    grads.add(&node, gradient.clone().narrow(last, start, width));
                }
                start += width;
            }
        };
        first.tape.push(node.clone(), Box::new(run));
        Self { flat, node: Some(node) }
    }
}

/// A gradient summed over the dimensions along which its operand was repeated.
fn fold(gradient: Flat, dims: &[u64]) -> Flat {
    let differs = |g: &Flat| (0..dims.len()).find(|&i| g.dims()[i] != dims[i]);
    let Some(first) = differs(&gradient) else { return gradient };
    let folded = gradient.reduce(first);
    match differs(&folded) {
        // One kernel reduces over all of them.
        Some(_) => Flat::new(folded.book(), dims, folded.width()),
        None => folded,
    }
}
