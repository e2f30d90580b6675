use burn::tensor::{Device, Int, Tensor};

/// Keys and values of every block, written in place.
///
/// A block's buffer is `[rows, capacity, kv_heads, head_dim]`. It is moved out of its slot for
/// each write, so that it is uniquely owned and the backend writes into it instead of copying.
#[derive(Debug)]
pub struct Cache {
    keys: Vec<Tensor<4>>,
    values: Vec<Tensor<4>>,
    /// Positions filled so far, left padding included.
    pub(crate) filled: usize,
    pub(crate) capacity: usize,
    /// Left padding of each row.
    pub(crate) starts: Vec<usize>,
}

impl Cache {
    pub(crate) fn new(
        blocks: usize,
        dims: [usize; 4],
        starts: Vec<usize>,
        device: &Device,
    ) -> Self {
        let buffers = || (0..blocks).map(|_| Tensor::zeros(dims, device)).collect();
        Self { keys: buffers(), values: buffers(), filled: 0, capacity: dims[1], starts }
    }

    /// Rows that are still in the batch.
    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    pub(crate) fn is_padded(&self) -> bool {
        self.starts.iter().any(|&s| s > 0)
    }

    /// Appends `[rows, t, kv_heads, head_dim]` to a block and returns views of all that is
    /// filled, the new part included. The views must be dropped before the next append.
    pub(crate) fn append(
        &mut self,
        block: usize,
        k: Tensor<4>,
        v: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let (from, to) = (self.filled, self.filled + k.dims()[1]);
        let write = |slot: &mut Tensor<4>, new: Tensor<4>| {
            let [rows, t, heads, dim] = new.dims();
            let range = [0..rows, from..from + t, 0..heads, 0..dim];
            let buffer = std::mem::replace(slot, new.clone());
            *slot = buffer.slice_assign(range, new);
            slot.clone().narrow(1, 0, to)
        };
        (write(&mut self.keys[block], k), write(&mut self.values[block], v))
    }

    pub(crate) fn retain(&mut self, rows: &[usize], device: &Device) {
        let index: Vec<i64> = rows.iter().map(|&r| r as i64).collect();
        let index = Tensor::<1, Int>::from_data(index.as_slice(), device);
        for slot in self.keys.iter_mut().chain(self.values.iter_mut()) {
            *slot = slot.clone().select(0, index.clone());
        }
        self.starts = rows.iter().map(|&r| self.starts[r]).collect();
    }
}
