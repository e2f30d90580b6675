//! Sampling with a cache, as the engine does it.

use super::flat::Flat;
use super::forward::Cache;
use super::read::Model;
use super::tape::Var;
use crate::{Category, MemoryError};
use hydralign_placement::Role;

impl Model<'_> {
    /// The prompts and the last token of `rows` responses: what is in between holds less.
    pub(crate) fn generate(
        &self,
        role: Role,
        rows: u64,
        prompt: u64,
        response: u64,
    ) -> Result<(), MemoryError> {
        let shape = &self.architecture.shape;
        let book = self.bank.store.book();
        let view = self.bank.placement.view(role)?;
        let capacity = prompt.saturating_add(response);
        let mut cache = book.under(Category::KvCache, || {
            let dims = [rows, capacity, shape.kv_heads as u64, shape.head_dim as u64];
            let slot = || Flat::zeros(book, &dims, self.workload.cache_dtype.bytes());
            let slots = (0..shape.layers).map(|_| Some([slot(), slot()])).collect();
            Cache { slots, filled: 0 }
        });
        let width = shape.width() as u64;
        book.under(Category::Workspace, || {
            let pass = self.pass(view, false, rows, [prompt, prompt]);
            let hidden = pass.hidden(Some(&mut cache));
            let last = hidden.reshape(&[rows, prompt, width]).narrow(1, prompt - 1, 1);
            let last = last.reshape(&[rows, width]);
            self.draw(book.under(Category::Logits, || pass.logits(last)));
            cache.filled = capacity - 1;
            let pass = self.pass(view, false, rows, [1, capacity]);
            let hidden = pass.hidden(Some(&mut cache));
            self.draw(book.under(Category::Logits, || pass.logits(hidden)));
        });
        Ok(())
    }

    /// The logits on the host, and the weights of one row at a time.
    fn draw(&self, logits: Var) {
        let row = logits.dims()[1];
        let book = self.bank.store.book();
        book.under(Category::Logits, || drop(Flat::new(book, &[row], 4)));
    }
}
