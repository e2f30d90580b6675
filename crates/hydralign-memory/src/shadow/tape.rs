//! The graph: what each operation keeps for its backward step, and what that step allocates.

use super::flat::Flat;
use super::ledger::{Book, Buffer};
use crate::{Category, Kernels};
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

    fn op1(
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
    fn op2(
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

    pub(crate) fn add(self, other: Self) -> Self {
        self.op2(other, false, Flat::binary, |_, g| g, |_, g| g)
    }

    pub(crate) fn sub(self, other: Self) -> Self {
        self.op2(other, false, Flat::binary, |_, g| g, |_, g| g.unary())
    }

    pub(crate) fn mul(self, other: Self) -> Self {
        let times = |factor: Option<Flat>, g: Flat| match factor {
            Some(factor) => g.binary(factor),
            None => g,
        };
        self.op2(other, true, Flat::binary, times, times)
    }

    pub(crate) fn matmul(self, other: Self) -> Self {
        let left = |right: Option<Flat>, g: Flat| match right {
            Some(right) => g.matmul(right.transpose()),
            None => g,
        };
        let right = |left: Option<Flat>, g: Flat| match left {
            Some(left) => left.transpose().matmul(g),
            None => g,
        };
        self.op2(other, true, Flat::matmul, left, right)
    }

    /// A quotient of one tensor by one that is a function of it, as in a softmax: both tracked.
    fn div(self, other: Self) -> Self {
        let denominator = other.flat.clone();
        let left = |right: Option<Flat>, g: Flat| match right {
            Some(right) => g.binary(right.unary()),
            None => g,
        };
        let right = move |left: Option<Flat>, g: Flat| match left {
            Some(left) => {
                let squared = denominator.clone().binary(denominator);
                g.binary(left.unary().binary(squared))
            }
            None => g,
        };
        self.op2(other, true, Flat::binary, left, right)
    }

    /// A factor or a summand that is a number, a change of sign.
    pub(crate) fn scale(self) -> Self {
        self.op1(false, Flat::unary, |_, g| g.unary())
    }

    /// A constant number added.
    pub(crate) fn shift(self) -> Self {
        self.op1(false, Flat::unary, |_, g| g)
    }

    pub(crate) fn square(self) -> Self {
        self.clone().mul(self)
    }

    /// √x and x⁻¹ and log x: a function of the input, times the gradient.
    pub(crate) fn root(self) -> Self {
        self.op1(true, Flat::unary, |x, g| match x {
            Some(x) => g.binary(x.unary()),
            None => g,
        })
    }

    pub(crate) fn recip(self) -> Self {
        self.op1(true, Flat::unary, |x, g| match x {
            Some(x) => g.binary(x.clone().binary(x).unary()),
            None => g,
        })
    }

    /// exp x, whose backward step takes it again.
    pub(crate) fn exp(self) -> Self {
        self.root()
    }

    /// σ(x) and relu(x): the function is taken again, then one product.
    pub(crate) fn sigmoid(self) -> Self {
        self.op1(true, Flat::unary, |x, g| match x {
            Some(x) => x.unary().binary(g),
            None => g,
        })
    }

    /// Gaussian error linear unit in one kernel; its input stays with the graph.
    pub(crate) fn gelu(self) -> Self {
        self.op1(true, Flat::unary, |x, g| match x {
            Some(x) => x.binary(g),
            None => g,
        })
    }

    /// max(x, 0): the backward step makes a mask of one byte a number.
    pub(crate) fn relu(self) -> Self {
        self.op1(true, Flat::unary, |x, g| match x {
            Some(x) => {
                let _mask = Flat::new(x.book(), x.dims(), 1);
                drop(x);
                g.unary()
            }
            None => g,
        })
    }

    pub(crate) fn tanh(self) -> Self {
        self.op1(true, Flat::unary, |x, g| match x {
            Some(x) => {
                let tanh = x.unary();
                g.binary(tanh.clone().binary(tanh).unary())
            }
            None => g,
        })
    }

    pub(crate) fn reshape(self, dims: &[u64]) -> Self {
        let before = self.dims().to_vec();
        self.op1(false, |x| x.reshape(dims), move |_, g| g.reshape(&before))
    }

    pub(crate) fn permute(self, axes: &[usize]) -> Self {
        let mut inverse = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        self.op1(false, |x| x.permute(axes), move |_, g| g.permute(&inverse))
    }

    pub(crate) fn transpose(self) -> Self {
        self.op1(false, Flat::transpose, |_, g| g.transpose())
    }

    pub(crate) fn narrow(self, dim: usize, start: u64, length: u64) -> Self {
        let before = self.dims().to_vec();
        self.op1(
            false,
            |x| x.narrow(dim, start, length),
            move |_, g| Flat::zeros(g.book(), &before, g.width()).assign(g),
        )
    }

    pub(crate) fn select(self, rows: u64) -> Self {
        let before = self.dims().to_vec();
        self.op1(
            false,
            |x| x.select(rows),
            move |_, g| Flat::zeros(g.book(), &before, g.width()).assign(g),
        )
    }

    pub(crate) fn gather(self) -> Self {
        let before = self.dims().to_vec();
        self.op1(false, Flat::gather, move |_, g| {
            Flat::zeros(g.book(), &before, g.width()).assign(g)
        })
    }

    /// A sum or mean over one dimension, which stays with length 1.
    pub(crate) fn reduce(self, dim: usize) -> Self {
        let before = self.dims().to_vec();
        self.op1(
            false,
            |x| x.reduce(dim),
            move |_, g| {
                let ones = Flat::new(g.book(), &before, g.width());
                let gradient = g.reduce(dim);
                ones.binary(gradient)
            },
        )
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

    /// The same numbers in another format; the gradient is converted back.
    pub(crate) fn cast(self, width: u64) -> Self {
        let before = self.flat.width();
        match width == before {
            true => self,
            false => self.op1(false, |x| x.cast(width), move |_, g| g.cast(before)),
        }
    }

    /// The sum of all numbers, `[1]`.
    pub(crate) fn sum(self) -> Self {
        let before = self.dims().to_vec();
        self.op1(
            false,
            |x| Flat::new(x.book(), &[1], x.width()),
            move |_, g| Flat::new(g.book(), &before, g.width()),
        )
    }

    /// The same tensor outside of the graph.
    pub(crate) fn detach(self) -> Self {
        Self::constant(self.flat)
    }

    /// Softmax over the last dimension: one kernel without a graph; with one x − max, its exponential,
    /// the sum and the quotient, or a kernel that keeps its result.
    pub(crate) fn softmax(self) -> Self {
        if self.node.is_none() {
            return Self::constant(self.flat.softmax());
        }
        if self.is_fused() {
            return self.keeping_result();
        }
        let last = self.dims().len() - 1;
        let top = self.clone().detach().reduce(last);
        let exponentials = self.sub(top).exp();
        let sum = exponentials.clone().reduce(last);
        exponentials.div(sum)
    }

    fn is_fused(&self) -> bool {
        matches!(self.flat.book().kernels(), Kernels::Fused { .. })
    }

    /// A function of the whole tensor in one kernel that keeps its result.
    pub(crate) fn keeping_result(self) -> Self {
        let result = self.flat.clone().unary();
        let kept = vec![result.clone()];
        Self::kernel(vec![self], result, kept)
    }

    /// Log-softmax over the last dimension: x − max, less the logarithm of the sum of exponentials; or
    /// a kernel that keeps its result.
    pub(crate) fn log_softmax(self) -> Self {
        if self.is_fused() {
            return self.keeping_result();
        }
        let last = self.dims().len() - 1;
        let top = self.clone().detach().reduce(last);
        let shifted = self.sub(top);
        let log_sum = shifted.clone().exp().reduce(last).root();
        shifted.sub(log_sum)
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
