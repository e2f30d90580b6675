/// How the outputs of a projection are ordered in a file, against `[queries | keys | values]`
/// by head in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in memory.
    Same,
    /// Head by head, and within a head its query, key and value (GPT-NeoX).
    ByHead {
        /// Heads of queries, of keys and of values alike.
        heads: usize,
        /// Size of a head.
        dim: usize,
    },
}

impl Order {
    /// The place in memory of an output in the file.
    pub fn held(self, stored: usize) -> usize {
        match self {
            Self::Same => stored,
            Self::ByHead { heads, dim } => {
                let (head, rest) = (stored / (3 * dim), stored % (3 * dim));
                let (part, i) = (rest / dim, rest % dim);
                (part * heads + head) * dim + i
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_a_fused_projection_are_regrouped_by_part() {
        let order = Order::ByHead { heads: 2, dim: 1 };
        // File: q0 k0 v0 q1 k1 v1. Memory: q0 q1 k0 k1 v0 v1.
        assert_eq!([0, 1, 2, 3, 4, 5].map(|i| order.held(i)), [0, 2, 4, 1, 3, 5]);
        assert_eq!(Order::Same.held(7), 7);
    }
}
