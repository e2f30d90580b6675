use thiserror::Error;

/// What an operation refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Two sizes that must be equal are not.
    #[error("{what}: expected {expected}, got {got}")]
    Size {
        /// What was compared.
        what: &'static str,
        /// The size needed.
        expected: usize,
        /// The size found.
        got: usize,
    },
    /// The gradient of entropies that the forward pass did not compute.
    #[error("there is a gradient of the entropies, but the forward pass computed none")]
    NoEntropies,
}
