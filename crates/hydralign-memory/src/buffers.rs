//! What an iteration holds beside the models: the cache, the batch and the logits.

use crate::count::{product, sum};
use crate::{MemoryError, Terms};

/// Bytes of a vector beside its numbers.
const HEADER: u64 = 24;

impl Terms<'_> {
    /// Keys and values of the rows that are decoded together, at full length from the start:
    /// 2·L·kv_heads·head_dim·generate_batch·(prompt + response)·b.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn kv_cache(&self) -> Result<u64, MemoryError> {
        let shape = self.shape;
        let factors = [
            2,
            shape.layers as u64,
            shape.kv_heads as u64,
            shape.head_dim as u64,
            self.workload.generate_batch as u64,
            self.workload.tokens()?,
            self.workload.cache_dtype.bytes(),
        ];
        product("the cache", &factors)
    }

    /// The batch on the host: batch·(4·(prompt + k·response) + 24·(k + 1)), with k `numbers` per response
    /// token; nothing if that is 0.
    ///
    /// A vector's header takes 24 bytes on a machine of 64 bits.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn experience(&self, numbers: u64) -> Result<u64, MemoryError> {
        let what = "the experience";
        let workload = self.workload;
        if numbers == 0 {
            return Ok(0);
        }
        let response = product(what, &[numbers, workload.response_tokens as u64])?;
        let episode = sum(what, &[workload.prompt_tokens as u64, response])?;
        let headers = product(what, &[HEADER, sum(what, &[numbers, 1])?])?;
        let bytes = sum(what, &[product(what, &[4, episode])?, headers])?;
        product(what, &[workload.batch as u64, bytes])
    }
}
