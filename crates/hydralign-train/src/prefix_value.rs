use crate::means::Means;
use crate::work::{learnt, predicts, sampled};
use crate::{Context, Load, Recipe, Sampling, Stateless, TrainError, Values};
use hydralign_algorithms::{AlgorithmError, Learner, PrefixRegression, prefix_batch, scores_of};
use hydralign_core::{Objective as _, Phase, Reward, Sequence};
use hydralign_models::ModelBank;
use hydralign_runs::Schedule;

/// The prefix scorer of controlled decoding (CD-FUDGE): it learns the scores of samples of a policy that stays as it
/// is, and steers that policy's decoding by [`Guided`](hydralign_rollout::Guided) or
/// [`Blockwise`](hydralign_rollout::Blockwise) (Mudgal et al. 2023).
#[derive(Clone)]
pub struct PrefixValueRecipe<'a> {
    /// Which values are fitted: of prefixes, or of the tokens that may follow.
    pub objective: PrefixRegression,
    /// The policy; it is made when it samples and dropped when it has.
    pub policy: Load<'a>,
    /// What responses are drawn to, and how.
    pub sampling: Sampling<'a>,
    /// The score of an episode.
    pub reward: &'a dyn Reward,
    /// Iterations.
    pub steps: usize,
    /// Optimizer steps of an iteration, each on all its responses.
    pub epochs: usize,
    /// Responses that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// Learning rate of each iteration.
    pub lr: Schedule,
}

impl Recipe<Learner<ModelBank>> for PrefixValueRecipe<'_> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        let counts =
            [("steps", self.steps), ("epochs", self.epochs), ("micro_batch", self.micro_batch)];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(AlgorithmError::Empty { what }.into()),
            None => Ok((self.steps, Stateless {})),
        }
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<ModelBank>,
        _: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        context.observer.phase(Phase::Generate);
        let policy = ModelBank::frozen((self.policy)()?);
        let prompts = self.sampling.prompts_of(step - 1);
        let episodes = self.sampling.draw(&policy, step - 1, &prompts, context.stop)?;
        drop(policy);
        let rows = sampled(&episodes, context.observer);
        context.observer.phase(Phase::Score);
        let scores = scores_of(self.reward, &episodes)?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        context.observer.phase(Phase::Update);
        learnt(&rows, predicts(&self.objective.reads()), self.epochs, context.observer);
        let target = |(s, &r): (Sequence, &f32)| {
            let values = vec![r; s.response_tokens()];
            (s, values)
        };
        let targets: Vec<(Sequence, Vec<f32>)> =
            rows.into_iter().zip(&scores).map(target).collect();
        let (lr, device) =
            (context.lr_scale * self.lr.lr(step, self.steps), learner.model().device());
        let mut means = Means::default();
        for _ in 0..self.epochs {
            let batches = prefix_batch(&targets, self.micro_batch, &device)?;
            means.add(&learner.step(&self.objective, &batches, lr)?);
        }
        // Guidance reads the copies of action heads.
        learner.change_model(|bank| bank.follow_action_heads(1.0));
        context.observer.phase(Phase::Report);
        let score = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len() as f64;
        let own = [("score", score), ("lr", lr)];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        Ok(own.chain(means.values()).collect())
    }
}
