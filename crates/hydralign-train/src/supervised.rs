use crate::work::{learnt, predicts};
use crate::{Context, Recipe, Stateless, TrainError, Values};
use hydralign_algorithms::{AlgorithmError, Learner, Order};
use hydralign_core::{Differentiable, Objective, Phase, Sequence, TokenBatch};
use hydralign_runs::Schedule;

/// Learning from given data: supervised fine-tuning, reward models, preferences, weighted responses.
///
/// Each step is one minibatch. Which rows it holds follows from its number.
#[derive(Clone, Copy, Debug)]
pub struct Supervised<O, R, B> {
    /// The loss.
    pub objective: O,
    /// Which rows each minibatch holds.
    pub order: R,
    /// The learning rate of each step.
    pub lr: Schedule,
    /// Makes the micro-batches of a minibatch from the indices of its rows, and from the model where it must be
    /// read first.
    pub batch: B,
}

impl<M, O, R, B> Recipe<Learner<M>> for Supervised<O, R, B>
where
    M: Differentiable,
    O: Objective,
    R: Order,
    B: Fn(&M, &[usize]) -> Result<Vec<(TokenBatch, O::Batch)>, AlgorithmError>,
{
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        match self.order.steps() {
            0 => Err(AlgorithmError::Empty { what: "items" }.into()),
            steps => Ok((steps, Stateless {})),
        }
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<M>,
        _: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        context.observer.phase(Phase::Update);
        let rows = self.order.minibatch(step - 1);
        let lr = context.lr_scale * self.lr.lr(step, self.order.steps());
        let batches = (self.batch)(learner.model(), &rows)?;
        let read: Vec<Sequence> =
            batches.iter().flat_map(|(tokens, _)| tokens.sequences().iter().cloned()).collect();
        learnt(&read, predicts(&self.objective.reads()), 1, context.observer);
        Ok(learner.step(&self.objective, &batches, lr)?.values(lr))
    }
}
