use crate::means::Means;
use crate::weighing::{Scored, Turn};
use crate::work::{learnt, read, sampled};
use crate::{Context, Load, Policy, Recipe, Sampling, Stateless, TrainError, Values, Weighing};
use burn::tensor::Device;
use hydralign_algorithms::{
    AlgorithmError, Epochs, Learner, Nll, OptimizerConfig, Order, Readout, WeightedSequence,
    scores_of, superhf_batch, weighted_batch,
};
use hydralign_core::random::sub_seed;
use hydralign_core::{
    Episode, Finish, Objective, Observer, Phase, Reading, Reward, Role, Sequence, TokenBatch,
};
use hydralign_models::{ModelBank, ModelError};
use hydralign_placement::Execution;
use hydralign_runs::Schedule;

/// A policy that learns its own weighted responses, one model at a time: it samples, a reward scores, the
/// responses are weighed, and a learner that lives for this iteration makes the next policy (SPR, AWR, RWR,
/// RAFT, ReST, SuperHF).
#[derive(Clone)]
pub struct OneModelRecipe<'a> {
    /// How scores become weights.
    pub method: Weighing<'a>,
    /// What responses are drawn to, and how.
    pub sampling: Sampling<'a>,
    /// Responses of a data set that are scored and learnt beside the policy's own.
    pub offline: Offline<'a>,
    /// The score of an episode. What it holds may be built when it is asked and dropped when it has answered.
    pub reward: &'a dyn Reward,
    /// Iterations.
    pub steps: usize,
    /// Passes over the weighted responses of an iteration.
    pub epochs: usize,
    /// Responses of an optimizer step.
    pub minibatch: usize,
    /// Responses that are differentiated at a time; memory depends on it, results do not.
    pub micro_batch: usize,
    /// The optimizer, fresh in each iteration.
    pub optimizer: OptimizerConfig,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// How passes are carried out.
    pub execution: Execution,
}

/// Responses of a data set, mixed into the iterations in their order, again and again. A reward sees them without
/// log-probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline<'a> {
    /// Responses to one prompt each.
    pub groups: &'a [Vec<Sequence>],
    /// Groups of an iteration.
    pub per_round: usize,
}

impl Offline<'_> {
    fn of(&self, round: usize) -> Vec<Vec<Sequence>> {
        let first = round * self.per_round % self.groups.len().max(1);
        self.groups.iter().cycle().skip(first).take(self.per_round).cloned().collect()
    }
}

impl Recipe<Policy> for OneModelRecipe<'_> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        self.optimizer.validate()?;
        self.execution.validate().map_err(ModelError::from)?;
        let counts = [
            ("steps", self.steps),
            ("epochs", self.epochs),
            ("minibatch", self.minibatch),
            ("micro_batch", self.micro_batch),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(AlgorithmError::Empty { what }.into()),
            None => Ok((self.steps, Stateless {})),
        }
    }

    fn step(
        &self,
        step: usize,
        policy: &mut Policy,
        _: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        let (scored, score) = self.scored(step - 1, policy, context)?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        let observer = &mut *context.observer;
        observer.phase(Phase::Credit);
        let lr = context.lr_scale * self.lr.lr(step, self.steps);
        let turn = Turn {
            step,
            steps: self.steps,
            lr,
            micro_batch: self.micro_batch,
            optimizer: &self.optimizer,
            device: policy.model().trunk.device(),
        };
        let (rows, weights) = self.method.weigh(policy, &scored, &turn, observer)?;
        drop(scored);
        let learnt = match self.method {
            Weighing::Tied { objective, reference } => {
                let tied = self.referred(rows, reference, observer)?;
                let batch = |items: &[usize], device: &Device| {
                    let part: Vec<_> = items.iter().map(|&i| tied[i].clone()).collect();
                    superhf_batch(&part, self.micro_batch, device)
                };
                let rows = tied.iter().map(|(row, _)| row);
                self.learn(policy, (step, lr), rows, &objective, batch, observer)?
            }
            _ => {
                let batch = |items: &[usize], device: &Device| {
                    let part: Vec<_> = items.iter().map(|&i| rows[i].clone()).collect();
                    weighted_batch(&part, self.micro_batch, device)
                };
                self.learn(policy, (step, lr), rows.iter(), &Nll, batch, observer)?
            }
        };
        observer.phase(Phase::Report);
        let first = [("score".to_owned(), score)];
        let last = [("lr".to_owned(), lr)];
        Ok(first.into_iter().chain(weights).chain(learnt).chain(last).collect())
    }
}

impl OneModelRecipe<'_> {
    /// The responses of an iteration with their scores, and the mean score of the policy's own.
    fn scored(
        &self,
        round: usize,
        policy: &Policy,
        context: &mut Context<'_>,
    ) -> Result<(Scored, f64), TrainError> {
        context.observer.phase(Phase::Generate);
        let (samples, prompts) = (self.sampling.samples, self.sampling.prompts_of(round));
        let bank = policy.bank(self.execution)?;
        let reward = Some(self.reward);
        let mut episodes = self.sampling.draw_for(&bank, round, &prompts, reward, context.stop)?;
        drop(bank);
        let own = episodes.len();
        let rows = sampled(&episodes, context.observer);
        context.observer.phase(Phase::Score);
        let mut groups: Vec<Vec<Sequence>> = rows.chunks(samples).map(<[_]>::to_vec).collect();
        groups.extend(self.offline.of(round));
        episodes.extend(groups.iter().flatten().skip(own).map(given));
        let all = scores_of(self.reward, &episodes)?;
        let score = all[..own].iter().map(|&s| f64::from(s)).sum::<f64>() / own as f64;
        let mut rest = all.into_iter();
        let scores = groups.iter().map(|group| rest.by_ref().take(group.len()).collect()).collect();
        Ok((Scored { groups, scores }, score))
    }

    /// Rows with log π_ref of each token.
    fn referred(
        &self,
        rows: Vec<WeightedSequence>,
        reference: Load<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<(WeightedSequence, Vec<f32>)>, TrainError> {
        observer.phase(Phase::Score);
        let bank = ModelBank::frozen(reference()?).with_execution(self.execution)?;
        let sequences: Vec<Sequence> = rows.iter().map(|row| row.sequence.clone()).collect();
        read(&sequences, true, 1, observer);
        let reading = Reading::Logprobs(Role::Actor);
        let mut values = Readout::of(&bank, &sequences, &[reading], 1.0, self.micro_batch)?;
        Ok(rows.into_iter().zip(values.take(reading)?).collect())
    }

    /// Supervised learning from the policy of the iteration before; the means over the steps.
    fn learn<'r, O: Objective>(
        &self,
        policy: &mut Policy,
        (step, lr): (usize, f64),
        rows: impl Iterator<Item = &'r WeightedSequence>,
        objective: &O,
        batch: impl Fn(&[usize], &Device) -> Result<Vec<(TokenBatch, O::Batch)>, AlgorithmError>,
        observer: &mut dyn Observer,
    ) -> Result<Values, TrainError> {
        observer.phase(Phase::Update);
        let sequences: Vec<Sequence> = rows.map(|row| row.sequence.clone()).collect();
        learnt(&sequences, true, self.epochs, observer);
        let order = Epochs {
            items: sequences.len(),
            minibatch: self.minibatch,
            epochs: self.epochs,
            seed: sub_seed(self.sampling.seed, &format!("update {}", step - 1)),
        };
        drop(sequences);
        policy.learn(&self.optimizer, self.execution, |learner: &mut Learner<ModelBank>| {
            let device = learner.model().device();
            let mut means = Means::default();
            for items in order.minibatches() {
                means.add(&learner.step(objective, &batch(&items, &device)?, lr)?);
            }
            Ok(means.values())
        })
    }
}

/// A response that was not drawn, as a reward sees it.
fn given(sequence: &Sequence) -> Episode {
    let Sequence { prompt, response, .. } = sequence.clone();
    let (logprobs, policy_logprobs) = (Vec::new(), Vec::new());
    let (row, finish) = (None, Finish::Stop);
    Episode { prompt, row, response, logprobs, policy_logprobs, finish }
}
