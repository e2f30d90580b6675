use crate::{CoreError, Outputs, Request, TokenBatch};

/// Answers readings for token batches: a model bank, or a stand-in in a test.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer readings by role",
    note = "`ModelBank` of hydralign-models implements `Roles` for any `Placement`"
)]
pub trait Roles {
    /// Answers every request about the batch, with as few trunk passes as the placement allows.
    ///
    /// # Errors
    /// What the batch or the placement does not allow.
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError>;
}

impl<T: Roles + ?Sized> Roles for &T {
    fn read(&self, requests: &[Request], batch: &TokenBatch) -> Result<Outputs, CoreError> {
        (**self).read(requests, batch)
    }
}
