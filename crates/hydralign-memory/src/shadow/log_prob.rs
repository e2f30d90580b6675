//! Log-probabilities by pieces of tokens, as the kernel reads and differentiates them.

use super::flat::Flat;
use super::ledger::Book;
use crate::Category;

/// Rows of the matrix whose gradient is added up at a time, at least.
const LEAST_ROWS: u64 = 32;

/// The LM head of a pass, visited in pieces.
pub(crate) struct LogProb {
    /// `[h, V]`, or `[V, h]` where it is the embedding.
    pub(crate) matrix: Flat,
    pub(crate) tied: bool,
    pub(crate) capped: bool,
    pub(crate) entropies: bool,
    pub(crate) chunk: u64,
}

impl LogProb {
    fn columns(&self) -> Flat {
        let matrix = self.matrix.clone();
        if self.tied { matrix.transpose() } else { matrix }
    }

    fn rows(&self) -> Flat {
        let matrix = self.matrix.clone();
        if self.tied { matrix } else { matrix.transpose() }
    }

    fn pieces(&self, n: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let chunk = self.chunk.max(1);
        // The first and the last: all others are like the first.
        let last = n.saturating_sub(1) / chunk * chunk;
        let starts = if last == 0 { vec![0] } else { vec![0, last] };
        starts.into_iter().map(move |start| (start, chunk.min(n - start)))
    }

    /// Four numbers for each token of `[n, h]` states.
    pub(crate) fn forward(&self, book: &Book, hidden: &Flat) -> Vec<Flat> {
        let n = hidden.dims()[0];
        book.under(Category::Logits, || {
            for (start, size) in self.pieces(n) {
                let scores = hidden.clone().narrow(0, start, size).matmul(self.columns()).unary();
                let top = scores.clone().reduce(1);
                let _chosen = scores.clone().gather();
                let below = scores.binary(top);
                if self.entropies {
                    let mass = below.clone().unary();
                    drop(mass.binary(below).reduce(1));
                } else {
                    drop(below.unary().reduce(1));
                }
            }
            let found = if self.entropies { 4 } else { 3 };
            (0..found).map(|_| Flat::new(book, &[n], hidden.width())).collect()
        })
    }

    /// Gradients of the states and, if wanted, of the matrix.
    pub(crate) fn backward(
        &self,
        book: &Book,
        hidden: &Flat,
        matrix: bool,
    ) -> (Flat, Option<Flat>) {
        let (n, width) = (hidden.dims()[0], hidden.width());
        let mut to_hidden =
            book.under(Category::Workspace, || Flat::new(book, hidden.dims(), width));
        let mut to_matrix = matrix.then(|| {
            book.under(Category::Gradients, || Flat::new(book, self.matrix.dims(), width))
        });
        for (start, size) in self.pieces(n) {
            let part = hidden.clone().narrow(0, start, size);
            let slopes = book.under(Category::Logits, || self.slopes(part.clone()));
            book.under(Category::Workspace, || {
                let below = slopes.clone().matmul(self.rows());
                to_hidden = to_hidden.clone().assign_in_place(below);
                if let Some(sum) = to_matrix.take() {
                    to_matrix = Some(self.add(sum, part, slopes));
                }
            });
        }
        (to_hidden, to_matrix)
    }

    /// ∂L/∂(scores) of a piece, `[size, V]`.
    fn slopes(&self, hidden: Flat) -> Flat {
        let scores = hidden.matmul(self.columns()).unary();
        match self.capped || self.entropies {
            // The probabilities beside the scores.
            true => scores.clone().unary().binary(scores.unary()),
            false => scores.unary(),
        }
    }

    fn add(&self, sum: Flat, hidden: Flat, slopes: Flat) -> Flat {
        let [size, vocabulary] = [0, 1].map(|i| slopes.dims()[i]);
        let (left, right) = match self.tied {
            true => (slopes.transpose(), hidden),
            false => (hidden.transpose(), slopes),
        };
        let [rows, columns] = [0, 1].map(|i| sum.dims()[i]);
        let half = size.saturating_mul(vocabulary) / 2;
        let block = (half / columns.max(1)).max(LEAST_ROWS).min(rows);
        let product = left.narrow(0, 0, block).matmul(right);
        drop(sum.clone().narrow(0, 0, block).binary(product));
        sum
    }
}
