use burn::tensor::{Tensor, s};

/// Rows of a block of the gradient: with fewer, matrix products are slow.
const LEAST_ROWS: usize = 32;

/// The matrix W that maps hidden states to the vocabulary, in the layout that it is held in.
#[derive(Clone, Debug)]
pub enum Vocabulary {
    /// W itself, `[hidden, vocab]`: a head of its own.
    Head(Tensor<2>),
    /// Wᵀ, `[vocab, hidden]`: an embedding that is the head as well.
    Embedding(Tensor<2>),
}

impl Vocabulary {
    /// The same matrix as a constant.
    pub(super) fn without_autodiff(self) -> Self {
        match self {
            Self::Head(w) => Self::Head(w.without_autodiff()),
            Self::Embedding(e) => Self::Embedding(e.without_autodiff()),
        }
    }

    /// Size of the hidden states that it maps.
    pub(super) fn hidden(&self) -> usize {
        match self {
            Self::Head(w) => w.dims()[0],
            Self::Embedding(e) => e.dims()[1],
        }
    }

    /// W, a view where the transpose is held.
    pub(super) fn columns(&self) -> Tensor<2> {
        match self {
            Self::Head(w) => w.clone(),
            Self::Embedding(e) => e.clone().transpose(),
        }
    }

    /// Wᵀ, a view where W is held.
    pub(super) fn rows(&self) -> Tensor<2> {
        match self {
            Self::Head(w) => w.clone().transpose(),
            Self::Embedding(e) => e.clone(),
        }
    }

    /// A zero gradient, in the layout of the matrix.
    pub(super) fn zeros(&self) -> Tensor<2> {
        let (Self::Head(matrix) | Self::Embedding(matrix)) = self;
        // Not `zeros`, which the CPU backend makes by a copy.
        Tensor::full(matrix.dims(), 0.0, &matrix.device())
    }

    /// `sum` + ∂L/∂W of z = hW, in the layout of the matrix. It is added in place, some rows at
    /// a time, so that no second tensor of the size of the matrix is needed.
    ///
    /// # Shapes
    /// `hidden`: `[n, hidden]`, `slopes` = ∂L/∂z: `[n, vocab]`.
    pub(super) fn add_gradient(
        &self,
        mut sum: Tensor<2>,
        hidden: Tensor<2>,
        slopes: Tensor<2>,
    ) -> Tensor<2> {
        let half = slopes.shape().num_elements() / 2;
        let (left, right) = match self {
            Self::Head(_) => (hidden.transpose(), slopes),
            Self::Embedding(_) => (slopes.transpose(), hidden),
        };
        let [rows, columns] = sum.dims();
        let block = (half / columns).max(LEAST_ROWS);
        for start in (0..rows).step_by(block) {
            let size = block.min(rows - start);
            let product = left.clone().narrow(0, start, size).matmul(right.clone());
            let product = sum.clone().narrow(0, start, size).add(product);
            sum = sum.slice_assign(s![start..start + size], product);
        }
        sum
    }
}
