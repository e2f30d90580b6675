use crate::{Context, PpoRecipe, Recipe, TrainError, Values};
use hydralign_algorithms::{Experience, Learner, PpoState};
use hydralign_core::{Decoder, Differentiable, Phase};
use std::cell::RefCell;

/// How much of PPO is done at a time. Memory depends on it, what is learnt does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Responses that are decoded together.
    pub generate: usize,
    /// Sequences that are read without a gradient together.
    pub score: usize,
    /// Sequences that are differentiated together.
    pub micro_batch: usize,
}

/// Looks on while PPO takes its steps. It may change how they are carried out, and report numbers of its own.
pub trait PpoHooks<M> {
    /// How much is done at a time from here on; none leaves it to the recipe.
    fn rows(&self) -> Option<Rows> {
        None
    }

    /// Sampling, scoring, learning or the step itself ([`Phase::Report`]) has ended, in this order.
    ///
    /// # Errors
    /// What ends the run.
    fn phase_ended(&mut self, phase: Phase, learner: &mut Learner<M>) -> Result<(), TrainError> {
        let _ = (phase, learner);
        Ok(())
    }

    /// Numbers to report of what is about to be learnt from.
    ///
    /// # Errors
    /// What ends the run.
    fn scored(&mut self, experience: &Experience) -> Result<Values, TrainError> {
        let _ = experience;
        Ok(Values::new())
    }
}

impl<M> PpoHooks<M> for () {}

/// PPO with something that looks on.
pub struct HookedPpo<'a, H> {
    /// The method.
    pub recipe: PpoRecipe<'a>,
    /// What looks on.
    pub hooks: RefCell<H>,
}

impl<M: Differentiable + Decoder, H: PpoHooks<M>> Recipe<Learner<M>> for HookedPpo<'_, H> {
    type State = PpoState;

    fn begin(&self) -> Result<(usize, PpoState), TrainError> {
        Recipe::<Learner<M>>::begin(&self.recipe)
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<M>,
        state: &mut PpoState,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        let hooks = &mut *self.hooks.borrow_mut();
        self.recipe.step_with(step, learner, state, context, hooks)
    }
}
