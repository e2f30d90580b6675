use crate::work::{learnt, read, sampled};
use crate::{Context, Recipe, Sampling, Stateless, TrainError, Values};
use burn::tensor::Device;
use hydralign_algorithms::{
    AlgorithmError, CreditRule, CriticFree, CriticFreeConfig, DynamicSampling, GroupExperience,
    Learner, ReturnBaseline, scores_of,
};
use hydralign_core::random::sub_seed;
use hydralign_core::{Decoder, Differentiable, Episode, Phase, Reward, Sequence, episode_fn};
use hydralign_runs::Schedule;

/// Policy gradients without a critic: sample groups, score, compare, update.
#[derive(Clone)]
pub struct CriticFreeRecipe<'a> {
    /// The method and its settings.
    pub method: CriticFreeConfig,
    /// What responses are drawn to, and how.
    pub sampling: Sampling<'a>,
    /// Rounds of sampling in which groups with equal scores are drawn anew (DAPO); 1 keeps what is there.
    pub sampling_rounds: usize,
    /// The score of an episode.
    pub reward: &'a dyn Reward,
    /// Iterations.
    pub steps: usize,
    /// Learning rate of each iteration.
    pub lr: Schedule,
    /// Where batches are made.
    pub device: Device,
}

/// What an iteration learns from.
struct Groups {
    /// Of each group, where no group was left out.
    prompts: Vec<usize>,
    groups: Vec<Vec<Episode>>,
    /// Group by group, where they were needed to choose.
    scores: Option<Vec<f32>>,
    drawn: usize,
}

impl<M: Differentiable + Decoder> Recipe<Learner<M>> for CriticFreeRecipe<'_> {
    type State = Stateless;

    fn begin(&self) -> Result<(usize, Stateless), TrainError> {
        self.lr.validate()?;
        self.sampling.validate()?;
        self.method.validate()?;
        match self.steps.min(self.sampling_rounds) {
            0 => Err(AlgorithmError::Empty { what: "steps or rounds of sampling" }.into()),
            _ => Ok((self.steps, Stateless {})),
        }
    }

    fn step(
        &self,
        step: usize,
        learner: &mut Learner<M>,
        _: &mut Stateless,
        context: &mut Context<'_>,
    ) -> Result<Values, TrainError> {
        context.observer.phase(Phase::Generate);
        let found = self.groups(step, learner.model(), context)?;
        let mut values = vec![
            ("groups".to_owned(), found.groups.len() as f64),
            ("groups_drawn".to_owned(), found.drawn as f64),
        ];
        if found.groups.is_empty() {
            values.push(("update_steps".into(), 0.0));
            return Ok(values);
        }
        let experience = self.experience(learner.model(), found, context)?;
        if context.stop.is_stopped() {
            return Err(TrainError::Stopped);
        }
        let lr = context.lr_scale * self.lr.lr(step, self.steps);
        let seed = sub_seed(self.sampling.seed, &format!("update {}", step - 1));
        let rows: Vec<Sequence> =
            experience.samples.iter().map(|s| Sequence::from(&s.episode)).collect();
        if self.method.needs_reference() {
            read(&rows, true, 1, context.observer);
        }
        learnt(&rows, true, self.method.epochs, context.observer);
        let method = CriticFree::new(self.method.clone())?;
        let report =
            method.update(learner, &experience, lr, seed, &self.device, context.observer)?;
        context.observer.phase(Phase::Report);
        values.splice(0..0, scores(&experience));
        values.extend([("lr".into(), lr), ("update_steps".into(), report.steps as f64)]);
        values.extend(report.stats.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        Ok(values)
    }
}

impl CriticFreeRecipe<'_> {
    fn draw<M: Decoder>(
        &self,
        model: &M,
        round: usize,
        prompts: &[usize],
        context: &Context<'_>,
    ) -> Result<Vec<Episode>, TrainError> {
        self.sampling.draw_for(model, round, prompts, Some(self.reward), context.stop)
    }

    /// The groups of an iteration; with rounds those whose scores differ, and the scores.
    fn groups<M: Decoder>(
        &self,
        step: usize,
        model: &M,
        context: &mut Context<'_>,
    ) -> Result<Groups, TrainError> {
        let Sampling { prompts_per_round: count, samples, .. } = self.sampling;
        let mut draw = |round: usize, wanted: usize| -> Result<Groups, TrainError> {
            let number = (step - 1) * self.sampling_rounds + round;
            let mut prompts = self.sampling.prompts_of(number);
            prompts.truncate(wanted);
            let episodes = self.draw(model, number, &prompts, context)?;
            sampled(&episodes, context.observer);
            let groups = episodes.chunks(samples).map(<[Episode]>::to_vec).collect();
            Ok(Groups { drawn: prompts.len(), prompts, groups, scores: None })
        };
        if self.sampling_rounds == 1 {
            return draw(0, count);
        }
        let dynamic = DynamicSampling { groups: count, rounds: self.sampling_rounds };
        let mut drawn = 0;
        let found = dynamic.collect(|round, missing| -> Result<Vec<_>, TrainError> {
            let groups = draw(round, missing)?.groups;
            drawn += groups.len();
            let scored = |group: Vec<Episode>| Ok((scores_of(self.reward, &group)?, group));
            let scored: Result<Vec<_>, TrainError> = groups.into_iter().map(scored).collect();
            Ok(scored?.into_iter().map(|(scores, group)| (group, scores)).collect())
        });
        let (groups, scores) = match found {
            Ok(found) => (found.groups, found.scores.concat()),
            // Not one group in all rounds: there is nothing to learn from now.
            Err(TrainError::Algorithm(AlgorithmError::Empty { .. })) => (Vec::new(), Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(Groups { prompts: Vec::new(), groups, scores: Some(scores), drawn })
    }

    fn experience<M: Differentiable + Decoder>(
        &self,
        model: &M,
        found: Groups,
        context: &mut Context<'_>,
    ) -> Result<GroupExperience, TrainError> {
        let greedy = match self.method.credit {
            CreditRule::ReturnToGo { baseline: ReturnBaseline::Greedy, .. } => {
                let greedy = self.sampling.greedy(model, &found.prompts, context.stop)?;
                sampled(&greedy, context.observer);
                Some(greedy)
            }
            _ => None,
        };
        let known = found.scores.map(|scores| episode_fn(move |_| scores.clone()));
        let reward: &dyn Reward = known.as_ref().map_or(self.reward, |known| known);
        let method = CriticFree::new(self.method.clone())?;
        let sampler = &self.sampling.sampler;
        let (greedy, observer) = (greedy.as_deref(), &mut *context.observer);
        Ok(method.experience(model, found.groups, greedy, sampler, Some(reward), observer)?)
    }
}

fn scores(experience: &GroupExperience) -> Values {
    let mut values = vec![("score".to_owned(), experience.mean(|s| s.score.into()))];
    values.extend(experience.mean_kl.map(|kl| ("kl".to_owned(), kl)));
    values.push(("entropy".into(), experience.entropy()));
    values.push(("equal_groups".into(), experience.equal_groups));
    values
}
