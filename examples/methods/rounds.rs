use super::{Method, Round, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::reward_scores;
use hydralign::core::{CoreError, Work, WorkKind};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::train::{Context, Policy, Run, Trainable, Values};
use std::sync::{Mutex, PoisonError};

/// Takes a round of a run, and says what it costs beside what its recipe tells of.
pub(super) type Go<'a, T, S> =
    Box<dyn Fn(&mut Run<T, S>, Turn, &mut Context<'_>) -> Result<(Values, f64)> + 'a>;
/// Responses of what is trained.
pub(super) type Respond<'a, T> = Box<dyn Fn(&T, &[Prompt]) -> Result<Vec<Episode>> + 'a>;

/// A recipe of the library as a method of the comparison.
pub(super) struct Rounds<'a, T, S> {
    pub(super) lab: &'a Lab,
    pub(super) run: Run<T, S>,
    pub(super) go: Go<'a, T, S>,
    pub(super) respond: Respond<'a, T>,
    pub(super) known_kl: fn(&[Episode]) -> Option<f64>,
}

impl<'a, S> Rounds<'a, Learner<ModelBank>, S> {
    /// A learner whose actor is the policy.
    pub(super) fn of_learner(
        lab: &'a Lab,
        bank: ModelBank,
        go: Go<'a, Learner<ModelBank>, S>,
    ) -> Self {
        let run = Run::new(Learner::new(bank, &lab.recipe.optimizer));
        let respond = |learner: &Learner<ModelBank>, prompts: &[Prompt]| {
            lab.respond(learner.model(), prompts, &SamplerConfig::default())
        };
        Self { lab, run, go, respond: Box::new(respond), known_kl: |_| None }
    }
}

impl<'a, S> Rounds<'a, Policy, S> {
    /// A policy between its successors.
    pub(super) fn of_policy(lab: &'a Lab, policy: Policy, go: Go<'a, Policy, S>) -> Self {
        let respond = |policy: &Policy, prompts: &[Prompt]| {
            let bank = ModelBank::frozen(policy.model().clone());
            lab.respond(&bank, prompts, &SamplerConfig::default())
        };
        Self { lab, run: Run::new(policy), go, respond: Box::new(respond), known_kl: |_| None }
    }
}

impl<T: Trainable, S> Method for Rounds<'_, T, S> {
    fn round(&mut self, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        let mut meter = Meter { lab: self.lab, observer, tokens: 0, flops: Ok(0.0) };
        let mut context = Context { observer: &mut meter, stop: &self.lab.stop, lr_scale: 1.0 };
        let (stats, beside) = (self.go)(&mut self.run, turn, &mut context)?;
        Ok(Round { sampled_tokens: meter.tokens, flops: meter.flops? + beside, stats })
    }

    fn respond(&self, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        (self.respond)(self.run.learner(), prompts)
    }

    fn known_kl(&self, episodes: &[Episode]) -> Option<f64> {
        (self.known_kl)(episodes)
    }
}

/// Counts what a round costs.
struct Meter<'a> {
    lab: &'a Lab,
    observer: &'a mut dyn Observer,
    tokens: usize,
    flops: Result<f64>,
}

impl Observer for Meter<'_> {
    fn phase(&mut self, phase: Phase) {
        self.observer.phase(phase);
    }

    fn work(&mut self, work: &Work<'_>) {
        let once = match work.kind {
            WorkKind::Sample => {
                self.tokens += work.rows.iter().map(|row| row.response.len()).sum::<usize>();
                self.lab.sampling_flops(work.rows)
            }
            WorkKind::Read => self.lab.reading_flops(work.rows, work.predicts),
            WorkKind::Learn => self.lab.learning_flops(work.rows, work.predicts),
        };
        let before = std::mem::replace(&mut self.flops, Ok(0.0));
        self.flops = before.and_then(|flops| Ok(flops + once? * work.passes as f64));
    }
}

/// The lab's reward model, and what it has read: a reward does not tell of its work.
pub(super) struct Scorer<'a> {
    lab: &'a Lab,
    held: Option<ModelBank>,
    flops: Mutex<f64>,
}

impl<'a> Scorer<'a> {
    /// The model is loaded for each scoring and dropped.
    pub(super) fn passing(lab: &'a Lab) -> Self {
        Self { lab, held: None, flops: Mutex::new(0.0) }
    }

    /// The model stays.
    pub(super) fn held(lab: &'a Lab) -> Result<Self> {
        Ok(Self { held: Some(ModelBank::frozen(lab.reward_model()?)), ..Self::passing(lab) })
    }

    /// Operations since it was last asked.
    pub(super) fn spent(&self) -> f64 {
        std::mem::take(&mut *self.flops.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn scores(&self, episodes: &[Episode]) -> Result<Vec<f32>> {
        let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let read = self.lab.reading_flops(&rows, false)?;
        *self.flops.lock().unwrap_or_else(PoisonError::into_inner) += read;
        match &self.held {
            Some(bank) => Ok(reward_scores(bank, &rows, self.lab.recipe.ppo.ppo.score_batch)?),
            None => self.lab.scores(&rows),
        }
    }
}

impl Reward for Scorer<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        self.scores(episodes).map_err(|error| CoreError::Other(error.into()))
    }
}
