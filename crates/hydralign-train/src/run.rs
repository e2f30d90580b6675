use crate::{Context, Recipe, TrainError, Trainable, Values};

/// A run that is taken in parts: after each its caller decides whether there is another, as under a budget of
/// tokens, and by which settings. Where nothing is to be decided a [`Trainer`](crate::Trainer) takes all steps.
#[derive(Debug)]
pub struct Run<T, S> {
    learner: T,
    state: Option<S>,
    done: usize,
}

impl<T: Trainable, S> Run<T, S> {
    /// A run before its first step.
    pub fn new(learner: T) -> Self {
        Self { learner, state: None, done: 0 }
    }

    /// What is trained.
    pub fn learner(&self) -> &T {
        &self.learner
    }

    /// Steps that are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Takes some steps, and returns the numbers of the last. The steps that the recipe itself asks for are no
    /// bound; the state is that of the recipe of the first part.
    ///
    /// # Errors
    /// [`TrainError::Stopped`]; what the recipe reports. The learner then holds the weights of the last good
    /// optimizer step.
    pub fn advance<R: Recipe<T, State = S>>(
        &mut self,
        recipe: &R,
        steps: usize,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        let (_, first) = recipe.begin()?;
        let state = self.state.get_or_insert(first);
        let mut values = Values::new();
        for _ in 0..steps {
            if context.stop.is_stopped() {
                return Err(TrainError::Stopped);
            }
            values = recipe.step(self.done + 1, &mut self.learner, state, context)?;
            self.done += 1;
        }
        Ok(values)
    }
}
