use crate::{Prompt, RolloutError};
use hydralign_core::Episode;
use std::ops::ControlFlow;

/// How far a call of [`Generator::generate`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Responses that are asked for.
    pub prompts: usize,
    /// Responses that are complete.
    pub finished: usize,
    /// Tokens sampled so far.
    pub tokens: usize,
}

/// Is told of every decoding step, and may end the generation.
///
/// Closures implement it: a progress bar, a check of an interrupt flag, or both.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow a generation",
    note = "any `FnMut(&Progress) -> ControlFlow<()>` is a `Monitor`; so is `()`"
)]
pub trait Monitor {
    /// One token was added to each running response.
    ///
    /// `Break` ends the generation with [`RolloutError::Cancelled`].
    fn step(&mut self, progress: &Progress) -> ControlFlow<()>;

    /// A token was drawn for the response to a prompt, given by its index. Told before the step
    /// that it belongs to; does nothing unless asked for.
    fn token(&mut self, _prompt: usize, _token: u32) {}

    /// The response to a prompt, given by its index, has ended; others may still grow. Told before the
    /// step that its last token belongs to; does nothing unless asked for.
    fn finished(&mut self, _prompt: usize, _episode: &Episode) {}
}

impl Monitor for () {
    fn step(&mut self, _: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&Progress) -> ControlFlow<()>> Monitor for F {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        self(progress)
    }
}

/// Turns prompts into episodes: the local [`Engine`](crate::Engine), a server, or a stand-in.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot generate responses",
    note = "`Engine` is a `Generator` over any `Decoder`"
)]
pub trait Generator {
    /// One episode per prompt, in the order of the prompts.
    ///
    /// # Errors
    /// What kept the responses from being generated.
    fn generate(
        &self,
        prompts: &[Prompt],
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Episode>, RolloutError>;
}

impl<T: Generator + ?Sized> Generator for &T {
    fn generate(
        &self,
        prompts: &[Prompt],
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Episode>, RolloutError> {
        (**self).generate(prompts, monitor)
    }
}
