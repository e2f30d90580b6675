use crate::{Context, Recipe, Stateless, Supervised, TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{AlgorithmError, Ilql, IlqlRow, Learner, Order, ilql_batch};
use hydralign_models::ModelBank;
use hydralign_runs::Schedule;

/// ILQL: supervised steps on responses with rewards, after some of which the target heads follow.
///
/// The model needs a critic with action heads ([`ModelBank::with_action_heads`]).
#[derive(Clone, Copy)]
pub struct IlqlRecipe<'a, R> {
    /// The loss.
    pub objective: Ilql,
    /// Responses with rewards.
    pub rows: &'a [IlqlRow],
    /// Which rows each minibatch holds.
    pub order: R,
    /// Learning rate of each step.
    pub lr: Schedule,
    /// α: target ← α·trained + (1 − α)·target.
    pub follow: f64,
    /// Steps from one following to the next; 0 counts as 1.
    pub follow_every: usize,
    /// Rows that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Where batches are made.
    pub device: &'a Device,
}

impl<R: Order + Copy> Recipe<Learner<ModelBank>> for IlqlRecipe<'_, R> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        if !(0.0..=1.0).contains(&self.follow) {
            let (field, expected) = ("follow", "between 0 and 1");
            return Err(AlgorithmError::Setting { field, value: self.follow, expected }.into());
        }
        self.lr.validate()?;
        match self.order.steps() {
            0 => Err(AlgorithmError::Empty { what: "rows" }.into()),
            steps => Ok((steps, Stateless {})),
        }
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<ModelBank>,
        state: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        let supervised = Supervised {
            objective: self.objective,
            order: self.order,
            lr: self.lr,
            batch: |_: &ModelBank, items: &[usize]| {
                let part: Vec<IlqlRow> = items.iter().map(|&i| self.rows[i].clone()).collect();
                ilql_batch(&part, self.micro_batch, self.device)
            },
        };
        let values = supervised.step(step, learner, state, context)?;
        if step.is_multiple_of(self.follow_every.max(1)) {
            learner.change_model(|bank| bank.follow_action_heads(self.follow));
        }
        Ok(values)
    }
}
