use crate::count::{product, sum};
use crate::{Dtype, MemoryError};
use serde::{Deserialize, Serialize};

const WHAT: &str = "the trained parameters";

/// What an optimizer remembers of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Two moments (Loshchilov & Hutter 2019).
    AdamW {
        /// Their number format.
        moments: Dtype,
    },
    /// Two moments of one byte each (Dettmers et al. 2022); the scales of their blocks are left out.
    AdamW8bit,
    /// Stochastic gradient descent.
    Sgd {
        /// Whether the last direction is kept, in 32 bits.
        momentum: bool,
    },
}

impl Optimizer {
    /// Bytes per parameter.
    pub fn bytes(self) -> u64 {
        match self {
            Optimizer::AdamW { moments } => 2 * moments.bytes(),
            Optimizer::AdamW8bit => 2,
            Optimizer::Sgd { momentum } => 4 * u64::from(momentum),
        }
    }
}

/// What data-parallel ranks share out instead of holding it whole: the stages of ZeRO (Rajbhandari et
/// al. 2020, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharding {
    /// Nothing.
    None,
    /// The optimizer's state (P_os).
    Optimizer,
    /// Its state and the gradients (P_os+g).
    Gradients,
    /// Both and the weights (P_os+g+p).
    Weights,
}

/// Bytes that one trained parameter costs in each of its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedBytes {
    /// The weight that passes read.
    pub weight: u64,
    /// Its gradient.
    pub gradient: u64,
    /// What the optimizer keeps: moments, and the weight in 32 bits where passes read 16.
    pub state: u64,
}

impl TrainedBytes {
    /// Weight and gradient in 16 bits, steps on a copy of the weight in 32: 2 + 2 + (4 + moments)
    /// (Micikevicius et al. 2018). With AdamW in 32 bits 16 in all, 12 of them state: ZeRO, §3.1.
    pub fn mixed(optimizer: Optimizer) -> Self {
        Self { state: 4 + optimizer.bytes(), ..Self::uniform(Dtype::Bf16, optimizer) }
    }

    /// Weight and gradient in one format, which steps are taken in: 2·b + moments. What hydralign's
    /// learner does, with AdamW in 32 bits.
    pub fn uniform(dtype: Dtype, optimizer: Optimizer) -> Self {
        let bytes = dtype.bytes();
        Self { weight: bytes, gradient: bytes, state: optimizer.bytes() }
    }

    /// Bytes of Ψ `parameters` on each of N `ranks`, with ⌈Ψ/N⌉ of what is shared out:
    ///
    /// whole·Ψ + shared·⌈Ψ/N⌉
    ///
    /// # Errors
    /// [`MemoryError::Zero`] without ranks, [`MemoryError::Overflow`].
    pub fn per_rank(
        &self,
        parameters: u64,
        sharding: Sharding,
        ranks: u64,
    ) -> Result<u64, MemoryError> {
        if ranks == 0 {
            return Err(MemoryError::Zero { field: "ranks" });
        }
        let shard = parameters.div_ceil(ranks);
        let [weights, gradients, states] = match sharding {
            Sharding::None => [parameters; 3],
            Sharding::Optimizer => [parameters, parameters, shard],
            Sharding::Gradients => [parameters, shard, shard],
            Sharding::Weights => [shard; 3],
        };
        sum(
            WHAT,
            &[
                product(WHAT, &[self.weight, weights])?,
                product(WHAT, &[self.gradient, gradients])?,
                product(WHAT, &[self.state, states])?,
            ],
        )
    }
}
