//! The operations of a graph: what each keeps and what its backward step allocates, as
//! burn-autodiff 0.22 has them.

use super::flat::Flat;
use super::tape::Var;
use crate::Kernels;

impl Var {
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
        if !self.is_tracked() {
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
