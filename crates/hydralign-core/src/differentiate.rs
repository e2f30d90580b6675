use crate::{CoreError, Outputs, Request, Roles, TokenBatch};
use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// A model that gives the gradient of a loss over its readings.
///
/// How the gradient travels back through the model is the model's business: everything at once,
/// or piece by piece with less memory. The numbers are the same up to rounding.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be differentiated",
    note = "a `Module` that answers readings becomes `Differentiable` by an empty `impl` block"
)]
pub trait Differentiable: Roles + Module {
    /// The gradient of `loss` with respect to every trained weight that it depends on.
    ///
    /// `loss` is called once, before any backward pass; readings requested with a gradient are
    /// tracked there. What it returns is `[1]`.
    ///
    /// # Errors
    /// What reading or the loss report; [`CoreError::ConstantLoss`].
    fn differentiate<E: From<CoreError>>(
        &self,
        requests: &[Request],
        batch: &TokenBatch,
        loss: impl FnOnce(&Outputs) -> Result<Tensor<1>, E>,
    ) -> Result<GradientsParams, E> {
        differentiate_at_once(self, requests, batch, loss)
    }

    /// Weights that change without a gradient, such as copies that follow others: what is written down of a run
    /// holds them beside the trained ones.
    fn followers(&self) -> Vec<ParamId> {
        Vec::new()
    }
}

/// Reading, loss and one backward pass through everything.
///
/// # Errors
/// As [`Differentiable::differentiate`].
pub fn differentiate_at_once<M: Roles + Module, E: From<CoreError>>(
    model: &M,
    requests: &[Request],
    batch: &TokenBatch,
    loss: impl FnOnce(&Outputs) -> Result<Tensor<1>, E>,
) -> Result<GradientsParams, E> {
    // The readings are dropped before the backward pass, the loss before the gradients are used.
    let loss = loss(&model.read(requests, batch)?)?;
    if !loss.is_tracked() {
        return Err(CoreError::ConstantLoss.into());
    }
    Ok(GradientsParams::from_grads(loss.backward(), model))
}
