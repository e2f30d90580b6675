use crate::{CheckpointState, Checkpoints, Context, Recipe, TrainError, Trainable};
use hydralign_core::{Observer, Phase, Stats, Work};
use hydralign_runs::{Steps, StopFlag};

/// Takes the steps of a recipe, and keeps checkpoints of them.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// Name of the stage in statistics.
    pub stage: &'a str,
    /// Ends the run between two steps, or within one before it learns.
    pub stop: &'a StopFlag,
    /// Where checkpoints go; none keeps none.
    pub checkpoints: Option<Checkpoints>,
}

/// What training leaves behind, however it ended.
pub struct Trained<T> {
    /// What was trained, after the last good step.
    pub learner: T,
    /// How far it came.
    pub progress: Steps,
    /// What ended it early, but for a stop.
    pub ended: Result<(), TrainError>,
}

impl<'a> Trainer<'a> {
    /// A trainer that keeps no checkpoints.
    pub fn new(stage: &'a str, stop: &'a StopFlag) -> Self {
        Self { stage, stop, checkpoints: None }
    }

    /// Trains to the end, from the newest checkpoint if there is one.
    ///
    /// After a stop and after the last step there is a checkpoint of where the run is.
    ///
    /// # Errors
    /// A recipe that cannot begin; a checkpoint that cannot be read. What ends the run later stands in
    /// [`Trained::ended`].
    pub fn train<T: Trainable, R: Recipe<T>>(
        mut self,
        recipe: &R,
        learner: T,
        observer: &mut dyn Observer,
    ) -> Result<Trained<T>, TrainError> {
        let (steps, state) = recipe.begin()?;
        let (done, mut learner, mut state) = self.go_on(learner, state)?;
        let mut progress = Steps { done, steps, begun: false };
        let mut ended = Ok(());
        while progress.done < steps && !self.stop.is_stopped() && ended.is_ok() {
            ended = self.step(recipe, &mut progress, &mut learner, &mut state, observer);
        }
        if let Err(TrainError::Stopped) = &ended {
            ended = Ok(());
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            let due = ended.is_ok() && progress.done > 0 && !checkpoints.holds(progress.done);
            let saved = match due {
                true => CheckpointState::of(progress.done, &learner, &state)
                    .and_then(|state| checkpoints.write(state)),
                false => Ok(()),
            };
            ended = ended.and(saved).and(checkpoints.wait());
        }
        Ok(Trained { learner, progress, ended })
    }

    /// The newest checkpoint's, or what a run begins with.
    fn go_on<T: Trainable, S: serde::de::DeserializeOwned>(
        &self,
        learner: T,
        state: S,
    ) -> Result<(usize, T, S), TrainError> {
        match self.checkpoints.as_ref().map(Checkpoints::newest).transpose()?.flatten() {
            None => Ok((0, learner, state)),
            Some(saved) => {
                let state = saved.recipe_state()?;
                Ok((saved.step, learner.with_record(saved.learner)?, state))
            }
        }
    }

    fn step<T: Trainable, R: Recipe<T>>(
        &mut self,
        recipe: &R,
        progress: &mut Steps,
        learner: &mut T,
        state: &mut R::State,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let (step, before) = (progress.done + 1, learner.steps());
        let mut phases = Phases { observer: &mut *observer, last: None };
        let mut context = Context { observer: &mut phases, stop: self.stop };
        let values = recipe.step(step, learner, state, &mut context);
        let phase = phases.last;
        let values = values.map_err(|error| {
            progress.begun = learner.steps() > before;
            match error {
                TrainError::Stopped => TrainError::Stopped,
                other => {
                    let (stage, reason) = (self.stage.to_owned(), Box::new(other));
                    TrainError::Step { stage, step, phase, reason }
                }
            }
        })?;
        progress.done = step;
        let stage = self.stage.to_owned();
        observer.stats(&Stats { stage, step, steps: progress.steps, values });
        match &mut self.checkpoints {
            Some(checkpoints) if checkpoints.due(step) => {
                observer.phase(Phase::Report);
                checkpoints.write(CheckpointState::of(step, learner, state)?)
            }
            _ => Ok(()),
        }
    }
}

/// Remembers the phase that a step is in.
struct Phases<'a> {
    observer: &'a mut dyn Observer,
    last: Option<Phase>,
}

impl Observer for Phases<'_> {
    fn phase(&mut self, phase: Phase) {
        self.last = Some(phase);
        self.observer.phase(phase);
    }

    fn work(&mut self, work: &Work<'_>) {
        self.observer.work(work);
    }

    fn stats(&mut self, stats: &Stats) {
        self.observer.stats(stats);
    }
}
