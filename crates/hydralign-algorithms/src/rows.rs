use crate::weights::vector;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Where the rows of a packed reading begin and end, on the device: sums over rows, and values
/// of rows spread over their tokens.
#[derive(Clone, Debug)]
pub struct Rows {
    /// `[rows, width]`: index of each token of each row; 0 past a row's end.
    tokens: Tensor<2, Int>,
    /// `[rows, width]`: 1 for a real token.
    mask: Tensor<2>,
    /// `[tokens]`: index of the row that each token belongs to.
    row_of: Tensor<1, Int>,
    /// `[rows]`: tokens of each row.
    lengths: Tensor<1>,
    /// The same on the host.
    counts: Vec<usize>,
}

/// Σ_t of a row, in f64.
pub(crate) fn sum_row(row: &[f32]) -> f32 {
    row.iter().map(|&v| f64::from(v)).sum::<f64>() as f32
}

impl Rows {
    /// The rows of a packed reading. Every row has at least one token (a `TokenBatch` made by
    /// `new` has no others).
    pub fn new(lengths: &[usize], device: &Device) -> Self {
        let rows = lengths.len();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let (mut tokens, mut mask) = (vec![0i64; rows * width], vec![0f32; rows * width]);
        let mut row_of = Vec::new();
        for (row, &length) in lengths.iter().enumerate() {
            for t in 0..length {
                tokens[row * width + t] = row_of.len() as i64;
                mask[row * width + t] = 1.0;
                row_of.push(row as i64);
            }
        }
        let count = row_of.len();
        let counts = lengths.to_vec();
        let lengths: Vec<f32> = lengths.iter().map(|&n| n as f32).collect();
        Self {
            counts,
            tokens: Tensor::from_data(TensorData::new(tokens, [rows, width]), device),
            mask: Tensor::from_data(TensorData::new(mask, [rows, width]), device),
            row_of: Tensor::from_data(TensorData::new(row_of, [count]), device),
            lengths: Tensor::from_data(TensorData::new(lengths, [rows]), device),
        }
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.lengths.dims()[0]
    }

    /// Tokens of each row, `[rows]`.
    pub fn lengths(&self) -> Tensor<1> {
        self.lengths.clone()
    }

    /// The sum over each row, `[rows]`, of a packed reading `[tokens]`.
    pub fn sum(&self, packed: Tensor<1>) -> Tensor<1> {
        let [rows, width] = self.mask.dims();
        let flat = self.tokens.clone().reshape([rows * width]);
        let padded = packed.select(0, flat).reshape([rows, width]).mul(self.mask.clone());
        padded.sum_dim(1).reshape([rows])
    }

    /// Sums over the rows, `[rows]`, on the host and in f64: the same bits whoever else was in the batch.
    pub fn host_sum(&self, packed: &[f32]) -> Tensor<1> {
        let mut rest = packed;
        let sum = |&n: &usize| {
            let (row, after) = rest.split_at(n);
            rest = after;
            sum_row(row)
        };
        vector(self.counts.iter().map(sum).collect(), &self.lengths.device())
    }

    /// [`Rows::sum`] with its gradient and with the bits of [`Rows::host_sum`]: equal readings of two models
    /// have equal sums, however they are batched.
    pub fn exact_sum(&self, packed: Tensor<1>) -> Tensor<1> {
        let host: Vec<f32> = packed.clone().without_autodiff().into_data().iter::<f32>().collect();
        let sum = self.sum(packed);
        let rounding = self.host_sum(&host).sub(sum.clone().without_autodiff());
        sum.add(rounding)
    }

    /// The mean over each row, `[rows]`.
    pub fn mean(&self, packed: Tensor<1>) -> Tensor<1> {
        self.sum(packed).div(self.lengths.clone())
    }

    /// One number per row, `[rows]`, given to each of its tokens, `[tokens]`.
    pub fn spread(&self, rows: Tensor<1>) -> Tensor<1> {
        rows.select(0, self.row_of.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_rows_are_summed_averaged_and_spread() {
        let device = Device::flex();
        let rows = Rows::new(&[2, 1, 3], &device);
        let packed = Tensor::<1>::from_floats([1.0, 2.0, 10.0, 3.0, 4.0, 5.0], &device).autodiff();
        let packed = packed.require_grad();
        let host = |t: Tensor<1>| t.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(rows.count(), 3);
        assert_eq!(host(rows.sum(packed.clone())), [3.0, 10.0, 12.0]);
        assert_eq!(host(rows.exact_sum(packed.clone())), [3.0, 10.0, 12.0]);
        assert_eq!(host(rows.mean(packed.clone())), [1.5, 10.0, 4.0]);
        assert_eq!(host(rows.spread(rows.lengths())), [2.0, 2.0, 1.0, 3.0, 3.0, 3.0]);

        // The first token fills the padding's place too, and must not get its gradient.
        let weights = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device);
        for sum in [rows.sum(packed.clone()), rows.exact_sum(packed.clone())] {
            let gradients = sum.mul(weights.clone()).sum().backward();
            let gradient = packed.grad(&gradients).unwrap();
            assert_eq!(host(gradient), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
        }
    }

    /// A row of thousands of numbers, alone and beside a longer one.
    #[test]
    fn exact_sums_do_not_follow_the_batch() {
        let device = Device::flex();
        let row: Vec<f32> = (0..3001).map(|i| -1.0 / (i + 1) as f32).collect();
        let exact = sum_row(&row);
        for beside in [1, 500, 4000] {
            let mut packed = row.clone();
            packed.resize(row.len() + beside, -0.7);
            let rows = Rows::new(&[row.len(), beside], &device);
            let sums = rows.exact_sum(vector(packed, &device));
            let sums: Vec<f32> = sums.into_data().iter::<f32>().collect();
            assert_eq!(sums[0].to_bits(), exact.to_bits(), "{beside}");
        }
    }
}
