use crate::work::sampled;
use crate::{Context, PairUpdate, Recipe, Sampling, Stateless, TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{
    AlgorithmError, Learner, PairLoss, Preference, ranked_pairs, scores_of,
};
use hydralign_core::{Decoder, Differentiable, Phase, Reading, Reward, Role, Sequence};
use hydralign_runs::Schedule;

/// Online DPO and its relatives: sample groups, score, pair the best response of each with its worst, learn from
/// the pairs (Guo et al. 2024). Where the loss has a reference, the model must have one.
#[derive(Clone)]
pub struct OnlineDpoRecipe<'a, L> {
    /// The loss of the pairs.
    pub objective: Preference<L>,
    /// What responses are drawn to, and how; at least two to each prompt.
    pub sampling: Sampling<'a>,
    /// The score of an episode.
    pub reward: &'a dyn Reward,
    /// Iterations.
    pub steps: usize,
    /// How the pairs of an iteration are learnt.
    pub update: PairUpdate,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// Where batches are made.
    pub device: Device,
}

impl<M: Differentiable + Decoder, L: PairLoss> Recipe<Learner<M>> for OnlineDpoRecipe<'_, L> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        self.update.validate()?;
        if self.sampling.samples < 2 {
            return Err(AlgorithmError::Empty { what: "second response to compare with" }.into());
        }
        match self.steps {
            0 => Err(AlgorithmError::Empty { what: "steps" }.into()),
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
        let observer = &mut *context.observer;
        observer.phase(Phase::Generate);
        let (model, samples) = (learner.model(), self.sampling.samples);
        let prompts = self.sampling.prompts_of(step - 1);
        let episodes = self.sampling.draw(model, step - 1, &prompts, context.stop)?;
        let rows = sampled(&episodes, observer);
        observer.phase(Phase::Score);
        let scores = scores_of(self.reward, &episodes)?;
        let groups: Vec<Vec<Sequence>> = rows.chunks(samples).map(<[_]>::to_vec).collect();
        let by_group: Vec<Vec<f32>> = scores.chunks(samples).map(<[_]>::to_vec).collect();
        let pairs = ranked_pairs(&groups, &by_group)?;
        let reference = (model, Reading::Logprobs(Role::Reference));
        let pairs = self.update.referred(&self.objective, reference, pairs, observer)?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        observer.phase(Phase::Update);
        let lr = context.lr_scale * self.lr.lr(step, self.steps);
        let learnt =
            self.update.learn(learner, &self.objective, (&pairs, lr), &self.device, observer)?;
        observer.phase(Phase::Report);
        let score = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len() as f64;
        let own = [("score", score), ("pairs", pairs.len() as f64), ("lr", lr)];
        Ok(own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(learnt).collect())
    }
}
