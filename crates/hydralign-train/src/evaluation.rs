use crate::{Policy, Sampling, TrainError, Values};
use hydralign_algorithms::{
    AlgorithmError, Learner, objective_values, reward_scores, sampled_kl, scores_of,
};
use hydralign_core::{
    Decoder, Differentiable, Episode, Objective, Reading, Reward, Roles, Sequence, TokenBatch,
};
use hydralign_models::ModelBank;
use hydralign_placement::Execution;
use hydralign_rollout::{RolloutStats, SamplerConfig};
use hydralign_runs::{RunError, StopFlag};

/// Measures how good what is trained is, on what it does not learn from. Closures implement it.
///
/// It changes nothing: a run with it ends with the bits of a run without it.
pub trait Evaluation<T> {
    /// Named numbers; a trainer reports them with `eval_` before their names.
    ///
    /// # Errors
    /// What kept them from being measured.
    fn measure(&self, trained: &T) -> Result<Values, TrainError>;
}

impl<T, F: Fn(&T) -> Result<Values, TrainError>> Evaluation<T> for F {
    fn measure(&self, trained: &T) -> Result<Values, TrainError> {
        self(trained)
    }
}

/// An evaluation after every so many steps, and after the last.
#[derive(Clone, Copy)]
pub struct Evaluate<'a, T> {
    /// Steps from one to the next; 0 counts as 1.
    pub every: usize,
    /// What is measured.
    pub evaluation: &'a dyn Evaluation<T>,
}

impl<T> Evaluate<'_, T> {
    /// Whether one belongs after this step of `steps`.
    pub fn due(&self, step: usize, steps: usize) -> bool {
        step.is_multiple_of(self.every.max(1)) || step == steps
    }
}

/// The loss and the statistics of an objective on held-out rows: supervised fine-tuning, reward models, preferences.
#[derive(Clone, Copy, Debug)]
pub struct HeldOutRows<O, B> {
    /// The loss, as a rule that of the recipe.
    pub objective: O,
    /// Makes the micro-batches of all held-out rows, as a [`Supervised`](crate::Supervised) recipe makes those of a
    /// minibatch.
    pub batch: B,
}

impl<M, O, B> Evaluation<Learner<M>> for HeldOutRows<O, B>
where
    M: Differentiable,
    O: Objective,
    B: Fn(&M) -> Result<Vec<(TokenBatch, O::Batch)>, AlgorithmError>,
{
    fn measure(&self, trained: &Learner<M>) -> Result<Values, TrainError> {
        let model = trained.model();
        let values = objective_values(model, &self.objective, &(self.batch)(model)?)?;
        Ok(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// The mean score of responses to held-out prompts, their KL to the reference and their length.
///
/// Each time the same random numbers are drawn, which are not those of the training.
#[derive(Clone)]
pub struct HeldOutPrompts<'a> {
    /// The held-out prompts, `prompts_per_round` of which are answered each time, and how responses are drawn.
    pub sampling: Sampling<'a>,
    /// The score of an episode; none takes it from the model's reward head.
    pub reward: Option<&'a dyn Reward>,
    /// How the model is asked for log π_ref; none measures no KL.
    pub reference: Option<Reading>,
    /// Sequences that are read at a time.
    pub rows: usize,
}

impl HeldOutPrompts<'_> {
    /// Measures a model. The KL is the mean over responses of Σ_t (log π − log π_ref), in nats ([`sampled_kl`]).
    ///
    /// # Errors
    /// [`RunError::Setting`] for a KL of responses that are not drawn from the policy itself; what sampling,
    /// reading or the reward report.
    pub fn of<M: Roles + Decoder>(&self, model: &M) -> Result<Values, TrainError> {
        self.validate()?;
        let prompts = self.sampling.prompts_of(0);
        let stop = StopFlag::new();
        let episodes = self.sampling.respond(model, 0, &prompts, self.reward, &stop)?;
        let scores = self.scores(model, &episodes)?;
        let score = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len() as f64;
        let mut values = vec![("score".to_owned(), score)];
        if let Some(reading) = self.reference {
            values.push(("kl".into(), sampled_kl(model, reading, &episodes, self.rows)?));
        }
        if let Some(rollout) = RolloutStats::of(&episodes) {
            values.push(("length".into(), rollout.mean_length));
            values.push(("stopped".into(), rollout.stopped_fraction));
        }
        Ok(values)
    }

    fn scores<M: Roles>(&self, model: &M, episodes: &[Episode]) -> Result<Vec<f32>, TrainError> {
        Ok(match self.reward {
            Some(reward) => scores_of(reward, episodes)?,
            None => {
                let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
                reward_scores(model, &rows, self.rows)?
            }
        })
    }

    fn validate(&self) -> Result<(), TrainError> {
        self.sampling.validate()?;
        match self.reference.is_none() || self.sampling.sampler == SamplerConfig::default() {
            true => Ok(()),
            false => Err(RunError::Setting {
                field: "temperature".into(),
                value: self.sampling.sampler.temperature.into(),
                expected: "1, from the whole distribution, where a KL is measured",
            }
            .into()),
        }
    }
}

impl<M: Differentiable + Decoder> Evaluation<Learner<M>> for HeldOutPrompts<'_> {
    fn measure(&self, trained: &Learner<M>) -> Result<Values, TrainError> {
        self.of(trained.model())
    }
}

/// [`HeldOutPrompts`] of a policy between two iterations, which holds no reference.
#[derive(Clone)]
pub struct HeldOutPolicy<'a> {
    /// What is drawn and scored.
    pub prompts: HeldOutPrompts<'a>,
    /// How passes are carried out.
    pub execution: Execution,
}

impl Evaluation<Policy> for HeldOutPolicy<'_> {
    fn measure(&self, trained: &Policy) -> Result<Values, TrainError> {
        let bank = ModelBank::frozen(trained.model().clone()).with_execution(self.execution)?;
        self.prompts.of(&bank)
    }
}
