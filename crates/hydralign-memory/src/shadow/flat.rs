use super::ledger::{Book, Buffer};
use crate::Category;
use crate::profile::Product;
use std::rc::Rc;

/// Most dimensions of a tensor in the models.
const RANK: usize = 5;

/// A tensor of which only the memory exists: what is allocated, shared, viewed and copied follows the
/// rules of burn-flex 0.22.
///
/// * views: reshaping what is contiguous, permuting, narrowing;
/// * copies: reshaping what is not;
/// * element-wise results are written into an operand that nobody else holds and that is contiguous
///   from its buffer's start, else into a new buffer;
/// * products, reductions, gathers and concatenations make new buffers; a product reads any strides and
///   may pack copies of its operands.
///
/// Operations take their operands by value, as burn's do: who owns what decides.
#[derive(Clone, Debug)]
pub(crate) struct Flat {
    buffer: Rc<Buffer>,
    rank: usize,
    dims: [u64; RANK],
    strides: [u64; RANK],
    start: u64,
    /// Bytes of a number.
    width: u64,
}

fn checked(book: &Book, factors: &[u64]) -> u64 {
    let product = factors.iter().try_fold(1_u64, |p, &f| p.checked_mul(f));
    product.unwrap_or_else(|| {
        book.overflows("a tensor");
        0
    })
}

fn row_major(dims: &[u64]) -> [u64; RANK] {
    let mut strides = [1_u64; RANK];
    for i in (0..dims.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1].saturating_mul(dims[i + 1]);
    }
    strides
}

impl Flat {
    /// A new buffer.
    pub(crate) fn new(book: &Book, dims: &[u64], width: u64) -> Self {
        let elements = checked(book, dims);
        let buffer = Rc::new(Buffer::new(book, checked(book, &[elements, width])));
        let mut all = [1; RANK];
        all[..dims.len()].copy_from_slice(dims);
        Self { buffer, rank: dims.len(), dims: all, strides: row_major(dims), start: 0, width }
    }

    /// A new buffer of zeros. It is made twice: as bytes, and copied to where numbers may lie
    /// (`FlexTensor::empty`).
    pub(crate) fn zeros(book: &Book, dims: &[u64], width: u64) -> Self {
        let first = book.under(Category::Workspace, || Self::new(book, dims, width));
        let zeros = Self::new(book, dims, width);
        drop(first);
        zeros
    }

    fn like(&self, dims: &[u64]) -> Self {
        Self::new(self.book(), dims, self.width)
    }

    pub(crate) fn book(&self) -> &Book {
        self.buffer.book()
    }

    pub(crate) fn dims(&self) -> &[u64] {
        &self.dims[..self.rank]
    }

    pub(crate) fn width(&self) -> u64 {
        self.width
    }

    /// Counts the buffer behind it under another category.
    pub(crate) fn recount(&self, category: Category) {
        self.buffer.recount(category);
    }

    /// The category of the buffer behind it.
    pub(crate) fn category(&self) -> Category {
        self.buffer.category()
    }

    fn is_unique(&self) -> bool {
        Rc::strong_count(&self.buffer) == 1
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1_u64;
        for i in (0..self.rank).rev().filter(|&i| self.dims[i] != 1) {
            if self.strides[i] != expected {
                return false;
            }
            expected = expected.saturating_mul(self.dims[i]);
        }
        true
    }

    /// Whether a result may be written over it.
    fn is_free(&self) -> bool {
        self.is_unique() && self.is_contiguous() && self.start == 0
    }

    fn elements(&self) -> u64 {
        checked(self.book(), self.dims())
    }

    /// The same numbers in a buffer of their own, unless they fill theirs.
    pub(crate) fn contiguous(self) -> Self {
        let whole = self.elements().saturating_mul(self.width) == self.buffer.bytes();
        match self.is_contiguous() && self.start == 0 && whole {
            true => self,
            false => self.like(self.dims()),
        }
    }

    /// A function of each number.
    pub(crate) fn unary(self) -> Self {
        match self.is_free() {
            true => self,
            false => self.like(self.dims()),
        }
    }

    /// A function of two numbers at a time, the smaller operand repeated.
    pub(crate) fn binary(self, other: Self) -> Self {
        let rank = self.rank.max(other.rank);
        let at = |t: &Self, i: usize| match (i + t.rank).checked_sub(rank) {
            Some(i) => t.dims[i],
            None => 1,
        };
        let dims: Vec<u64> = (0..rank).map(|i| at(&self, i).max(at(&other, i))).collect();
        if self.is_free() && self.dims() == dims {
            return self;
        }
        if other.is_free() && other.dims() == dims {
            return other;
        }
        self.like(&dims)
    }

    /// `[…, m, k]` × `[…, k, n]`, leading dimensions repeated.
    pub(crate) fn matmul(self, other: Self) -> Self {
        let (a, b) = (self.dims(), other.dims());
        let mut dims: Vec<u64> = match self.rank == other.rank {
            true => a.iter().zip(b).map(|(&x, &y)| x.max(y)).collect(),
            false => a.to_vec(),
        };
        let rank = dims.len();
        (dims[rank - 2], dims[rank - 1]) = (a[self.rank - 2], b[other.rank - 1]);
        let product = Product {
            m: dims[rank - 2],
            k: a[self.rank - 1],
            n: dims[rank - 1],
            left_rows: self.strides[self.rank - 1] == 1,
            right_rows: other.strides[other.rank - 1] == 1,
            batch: dims[..rank - 2].iter().fold(1, |p, &d| p.saturating_mul(d)),
        };
        let result = Self::zeros(self.book(), &dims, self.width);
        let _packed = self.packed(product);
        result
    }

    /// The copies that a product makes of its operands.
    fn packed(&self, product: Product) -> Option<Buffer> {
        let book = self.book();
        let bytes = book.packing()?.bytes(product, self.width).unwrap_or_else(|| {
            book.overflows("a matrix product");
            0
        });
        Some(book.under(Category::Workspace, || Buffer::new(book, bytes)))
    }

    pub(crate) fn reshape(self, dims: &[u64]) -> Self {
        if !self.is_contiguous() {
            return self.like(dims);
        }
        let mut all = [1; RANK];
        all[..dims.len()].copy_from_slice(dims);
        Self { rank: dims.len(), dims: all, strides: row_major(dims), ..self }
    }

    pub(crate) fn permute(self, axes: &[usize]) -> Self {
        let (mut dims, mut strides) = ([1; RANK], [1; RANK]);
        for (to, &from) in axes.iter().enumerate() {
            (dims[to], strides[to]) = (self.dims[from], self.strides[from]);
        }
        Self { dims, strides, ..self }
    }

    /// The last two dimensions exchanged.
    pub(crate) fn transpose(self) -> Self {
        let mut axes: Vec<usize> = (0..self.rank).collect();
        axes.swap(self.rank - 2, self.rank - 1);
        self.permute(&axes)
    }

    pub(crate) fn narrow(self, dim: usize, start: u64, length: u64) -> Self {
        let mut dims = self.dims;
        dims[dim] = length;
        let start = self.start.saturating_add(start.saturating_mul(self.strides[dim]));
        Self { dims, start, ..self }
    }

    /// A sum or mean or maximum over one dimension, which stays with length 1.
    pub(crate) fn reduce(self, dim: usize) -> Self {
        let copies = !self.is_contiguous() && (dim > 1 || self.rank - dim - 1 > 1);
        let read = if copies { self.contiguous() } else { self };
        let mut dims = read.dims().to_vec();
        dims[dim] = 1;
        read.like(&dims)
    }

    /// Rows of it by index.
    pub(crate) fn select(self, rows: u64) -> Self {
        let read = self.contiguous();
        let mut dims = read.dims().to_vec();
        dims[0] = rows;
        read.like(&dims)
    }

    /// One column of each row, `[n, V]` → `[n, 1]`.
    pub(crate) fn gather(self) -> Self {
        let read = self.contiguous();
        let rows = read.dims[0];
        read.like(&[rows, 1])
    }

    /// Values added into places of it: in place if nobody else holds it.
    pub(crate) fn assign(self, values: Self) -> Self {
        let _read = values.contiguous();
        match self.is_unique() {
            true => self,
            false => self.like(self.dims()),
        }
    }

    /// Values written into a part of it, which nobody else holds.
    pub(crate) fn assign_in_place(self, values: Self) -> Self {
        drop(values.contiguous());
        self
    }

    /// Tensors like the first side by side, `width` columns in all.
    pub(crate) fn cat(first: &Self, width: u64) -> Self {
        let mut dims = first.dims().to_vec();
        dims[first.rank - 1] = width;
        first.like(&dims)
    }

    /// Softmax over the last dimension, in one kernel.
    pub(crate) fn softmax(self) -> Self {
        let read = self.contiguous();
        read.like(read.dims())
    }

    /// The same numbers with another number of bytes each.
    pub(crate) fn cast(self, width: u64) -> Self {
        match width == self.width {
            true => self,
            false => Self::new(self.book(), self.dims(), width),
        }
    }
}
