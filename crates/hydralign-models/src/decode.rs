use crate::cache::Cache;
use crate::read::check_tokens;
use crate::{ModelBank, Trunk, ValueHead};
use burn::tensor::Tensor;
use hydralign_core::{CoreError, Decoder, Gradient, Role};

impl<V: ValueHead> Decoder for ModelBank<V> {
    type Cache = Cache;

    fn prefill(
        &self,
        role: Role,
        prompts: &[&[u32]],
        room: &[usize],
    ) -> Result<(Cache, Tensor<2>), CoreError> {
        let (trunk, lens) = self.look(self.placement.view(role)?, Gradient::Off)?;
        let (shape, context) = (&trunk.architecture.shape, trunk.architecture.context);
        let width = prompts.iter().map(|p| p.len()).max().ok_or(CoreError::EmptyBatch)?;
        if room.len() != prompts.len() {
            return Err(CoreError::RowCount { expected: prompts.len(), got: room.len() });
        }
        let capacity = room.iter().copied().max().unwrap_or(0);
        for (row, (prompt, room)) in prompts.iter().zip(room).enumerate() {
            if prompt.is_empty() {
                return Err(CoreError::EmptyPrompt { row });
            }
            let needed = prompt.len() + room;
            if needed > context {
                return Err(CoreError::ContextExceeded { row, needed, context });
            }
            check_tokens(row, prompt, shape.vocab)?;
        }
        let mut tokens = vec![0; prompts.len() * width];
        for (row, prompt) in tokens.chunks_mut(width).zip(prompts) {
            row[width - prompt.len()..].copy_from_slice(prompt);
        }
        let starts = prompts.iter().map(|p| width - p.len()).collect();
        let dims = [prompts.len(), width + capacity, shape.kv_heads, shape.head_dim];
        let mut cache = Cache::new(shape.layers, dims, starts, &trunk.device());
        let hidden = trunk.hidden_cached(&tokens, &mut cache, lens);
        let out = shape.width();
        let last = hidden.reshape([prompts.len(), width, out]).narrow(1, width - 1, 1);
        let answer = self.predict(role, trunk, last.reshape([prompts.len(), out]))?;
        Ok((cache, answer))
    }

    fn decode(
        &self,
        role: Role,
        cache: &mut Cache,
        tokens: &[u32],
    ) -> Result<Tensor<2>, CoreError> {
        let (trunk, lens) = self.look(self.placement.view(role)?, Gradient::Off)?;
        if cache.filled >= cache.capacity {
            let (needed, context) = (cache.filled + 1, cache.capacity);
            return Err(CoreError::ContextExceeded { row: 0, needed, context });
        }
        let context = trunk.architecture.context;
        let longest = cache.starts.iter().map(|start| cache.filled + 1 - start).enumerate();
        if let Some((row, needed)) = longest.max_by_key(|&(_, n)| n).filter(|&(_, n)| n > context) {
            return Err(CoreError::ContextExceeded { row, needed, context });
        }
        for (row, token) in tokens.iter().enumerate() {
            check_tokens(row, &[*token], trunk.architecture.shape.vocab)?;
        }
        let hidden = trunk.hidden_cached(tokens, cache, lens);
        self.predict(role, trunk, hidden)
    }

    fn retain(&self, cache: &mut Cache, rows: &[usize]) {
        cache.retain(rows, &self.device());
    }
}

impl<V: ValueHead> ModelBank<V> {
    /// What a role says of every token as the next one, `[rows, vocab]`: logits, or for a critic with
    /// action heads the lesser of its two target copies' values.
    fn predict(
        &self,
        role: Role,
        trunk: &Trunk,
        hidden: Tensor<2>,
    ) -> Result<Tensor<2>, CoreError> {
        match (&self.action_heads, role) {
            (Some(heads), Role::Critic) => Ok(heads.least_target(hidden)),
            (None, Role::Critic) => Err(CoreError::NoActionHeads),
            _ => trunk.logits(hidden, Gradient::Off),
        }
    }
}
