use crate::best::PREFIX;
use crate::guarded::Taken;
use crate::{
    Best, BestBy, BestState, CheckpointState, Checkpoints, Evaluate, Guards, OnFault, Recipe,
    TrainError, Trainable, Values,
};
use hydralign_core::{Observer, Phase, Stats};
use hydralign_runs::{Steps, StopFlag};
use serde::{Deserialize, Serialize};

/// Takes the steps of a recipe, measures what it trains, watches over it, and keeps checkpoints.
pub struct Trainer<'a, T> {
    /// Name of the stage in statistics.
    pub stage: &'a str,
    /// Ends the run between two steps, or within one before it learns.
    pub stop: &'a StopFlag,
    /// Where checkpoints go; none keeps none.
    pub checkpoints: Option<Checkpoints>,
    /// What is measured during the training, and how often; none measures nothing.
    pub evaluation: Option<Evaluate<'a, T>>,
    /// Which checkpoint stays as the best, and when the training ends early; none keeps the newest alone.
    pub best: Option<BestBy>,
    /// What is done when numbers, rewards or responses go bad.
    pub guards: Guards,
    /// Is told in a sentence what a guard has done.
    pub tell: &'a dyn Fn(&str),
}

/// What a trainer carries from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// What learning rates are multiplied by: ½ for each time that a guard has halved them.
    pub lr_scale: f64,
    /// Times in a row that guards have acted.
    pub guarded: usize,
    /// The best so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestState>,
}

impl Default for TrainerState {
    fn default() -> Self {
        Self { lr_scale: 1.0, guarded: 0, best: None }
    }
}

/// What training leaves behind, however it ended.
pub struct Trained<T> {
    /// What was trained, after the last good step.
    pub learner: T,
    /// How far it came. Where the patience came to its end, its steps are those that were taken.
    pub progress: Steps,
    /// The best, if one was looked for and found.
    pub best: Option<Best>,
    /// What ended it early, but for a stop.
    pub ended: Result<(), TrainError>,
}

/// A run under way.
pub(crate) struct Run<T, S> {
    pub(crate) learner: T,
    /// What the recipe carries.
    pub(crate) recipe: S,
    pub(crate) trainer: TrainerState,
    pub(crate) progress: Steps,
}

impl<'a, T: Trainable> Trainer<'a, T> {
    /// A trainer that measures nothing, keeps no checkpoints and ends where numbers go bad.
    pub fn new(stage: &'a str, stop: &'a StopFlag) -> Self {
        let guards = Guards::default();
        let (checkpoints, evaluation, best, tell) = (None, None, None, &|_: &str| {});
        Self { stage, stop, checkpoints, evaluation, best, guards, tell }
    }

    /// Trains to the end, from the newest checkpoint if there is one.
    ///
    /// After a stop and after the last step there is a checkpoint of where the run is.
    ///
    /// # Errors
    /// A recipe that cannot begin; settings out of range; a checkpoint that cannot be read; a disk without room for the
    /// checkpoints. What ends the run later stands in [`Trained::ended`].
    pub fn train<R: Recipe<T>>(
        mut self,
        recipe: &R,
        learner: T,
        observer: &mut dyn Observer,
    ) -> Result<Trained<T>, TrainError> {
        self.guards.validate()?;
        if let (Some(best), None) = (&self.best, &self.evaluation) {
            let metric = best.metric.clone();
            return Err(TrainError::NoMetric { metric, there: Vec::new() });
        }
        let (steps, state) = recipe.begin()?;
        let mut run = self.go_on(steps, learner, state)?;
        let mut ended = Ok(());
        self.end_early(&mut run);
        while run.progress.done < run.progress.steps && !self.stop.is_stopped() && ended.is_ok() {
            ended = self.step(recipe, &mut run, observer);
            self.end_early(&mut run);
        }
        if let Err(TrainError::Stopped) = &ended {
            ended = Ok(());
        }
        ended = self.end(&run, ended);
        let best = self.best_of(&run);
        Ok(Trained { learner: run.learner, progress: run.progress, best, ended })
    }

    /// The newest checkpoint's, or what a run begins with; and room for the checkpoints to come.
    fn go_on<S: serde::de::DeserializeOwned>(
        &mut self,
        steps: usize,
        learner: T,
        recipe: S,
    ) -> Result<Run<T, S>, TrainError> {
        let progress = Steps { done: 0, steps, begun: false };
        let fresh = Run { learner, recipe, trainer: TrainerState::default(), progress };
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(fresh) };
        let Some(saved) = checkpoints.newest()? else {
            checkpoints.require_space(&fresh.learner.to_record()?, self.best.is_some())?;
            return Ok(fresh);
        };
        if saved.step < steps {
            checkpoints.require_space(&saved.learner, self.best.is_some())?;
        }
        if let Some(best) = saved.trainer.best {
            checkpoints.keep_best(best.step);
        }
        let recipe = saved.recipe_state()?;
        let learner = fresh.learner.with_record(saved.learner)?;
        let progress = Steps { done: saved.step, ..progress };
        Ok(Run { learner, recipe, trainer: saved.trainer, progress })
    }

    /// A checkpoint of where the run ended, if it ended well.
    fn end<S: Serialize>(
        &mut self,
        run: &Run<T, S>,
        ended: Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let Some(checkpoints) = &mut self.checkpoints else { return ended };
        let done = run.progress.done;
        let saved = match ended.is_ok() && done > 0 && !checkpoints.holds(done) {
            true => CheckpointState::of(done, &run.learner, &run.recipe, &run.trainer)
                .and_then(|state| checkpoints.write(state)),
            false => Ok(()),
        };
        ended.and(saved).and(checkpoints.wait())
    }

    /// Where the patience has come to its end, there is no step left.
    fn end_early<S>(&self, run: &mut Run<T, S>) {
        let over = |best: &BestBy| best.is_over(run.trainer.best.as_ref());
        if run.progress.done < run.progress.steps && self.best.as_ref().is_some_and(over) {
            run.progress.steps = run.progress.done;
        }
    }

    fn best_of<S>(&self, run: &Run<T, S>) -> Option<Best> {
        let (by, best) = (self.best.as_ref()?, run.trainer.best?);
        let path = |checkpoints: &Checkpoints| checkpoints.path(best.step);
        let checkpoint = self.checkpoints.as_ref().map(path).filter(|path| path.exists());
        Some(Best { metric: by.reported(), value: best.value, step: best.step, checkpoint })
    }

    fn step<R: Recipe<T>>(
        &mut self,
        recipe: &R,
        run: &mut Run<T, R::State>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let step = run.progress.done + 1;
        let before = run.trainer;
        let taken = self.take(recipe, step, run, observer);
        if taken.is_err() {
            run.trainer = before; // a run that goes on takes the whole step again
        }
        let Taken { mut values, ends } = taken?;
        run.progress.done = step;
        let measured = match ends {
            None => self.evaluate(step, run, observer),
            Some(error) => Err(error),
        };
        values.extend(measured.as_ref().into_iter().flatten().cloned());
        let (stage, steps) = (self.stage.to_owned(), run.progress.steps);
        let best = measured.and_then(|measured| self.look(step, &measured, run));
        observer.stats(&Stats { stage, step, steps, values });
        let best = best?;
        match &mut self.checkpoints {
            Some(checkpoints) if checkpoints.due(step) || best => {
                observer.phase(Phase::Report);
                let state = CheckpointState::of(step, &run.learner, &run.recipe, &run.trainer)?;
                checkpoints.write(state)
            }
            _ => Ok(()),
        }
    }

    /// What is measured after this step; nothing where no evaluation is due.
    fn evaluate<S>(
        &self,
        step: usize,
        run: &Run<T, S>,
        observer: &mut dyn Observer,
    ) -> Result<Values, TrainError> {
        let steps = run.progress.steps;
        let Some(due) = self.evaluation.as_ref().filter(|e| e.due(step, steps)) else {
            return Ok(Values::new());
        };
        observer.phase(Phase::Evaluate);
        match due.evaluation.measure(&run.learner) {
            Ok(values) => {
                Ok(values.into_iter().map(|(n, v)| (format!("{PREFIX}{n}"), v)).collect())
            }
            Err(error) if error.is_of_reward() && self.guards.reward == OnFault::Skip => {
                (self.tell)(&format!("step {step} is not evaluated: {error}"));
                Ok(Values::new())
            }
            Err(error) => Err(self.named(step, Some(Phase::Evaluate), error)),
        }
    }

    /// Whether what was measured is the best so far.
    fn look<S>(
        &mut self,
        step: usize,
        measured: &Values,
        run: &mut Run<T, S>,
    ) -> Result<bool, TrainError> {
        let Some(by) = self.best.as_ref().filter(|_| !measured.is_empty()) else {
            return Ok(false);
        };
        let is_best = by.look(step, measured, &mut run.trainer.best)?;
        if let (true, Some(checkpoints)) = (is_best, &mut self.checkpoints) {
            checkpoints.keep_best(step);
        }
        Ok(is_best)
    }

    /// An error with where it happened.
    pub(crate) fn named(
        &self,
        step: usize,
        phase: Option<Phase>,
        reason: TrainError,
    ) -> TrainError {
        TrainError::Step { stage: self.stage.to_owned(), step, phase, reason: Box::new(reason) }
    }
}
