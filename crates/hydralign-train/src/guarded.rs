use crate::checkpoint::{from_table, to_table};
use crate::guard::Verdict;
use crate::trainer::Run;
use crate::{Context, Recipe, TrainError, Trainable, Trainer, Values};
use hydralign_core::{Observer, Phase, Stats, Work};

/// What a step came to.
pub(crate) struct Taken {
    /// Its numbers, and what guards did.
    pub(crate) values: Values,
    /// What ends the run although the step was taken.
    pub(crate) ends: Option<TrainError>,
}

/// One try of a step, and what was the matter with it.
struct Try {
    values: Values,
    bad: Option<Bad>,
}

struct Bad {
    error: TrainError,
    phase: Option<Phase>,
    verdict: Verdict,
}

impl<T: Trainable> Trainer<'_, T> {
    /// Takes a step, as often as the guards ask for.
    pub(crate) fn take<R: Recipe<T>>(
        &self,
        recipe: &R,
        step: usize,
        run: &mut Run<T, R::State>,
        observer: &mut dyn Observer,
    ) -> Result<Taken, TrainError> {
        let mut halved = 0;
        loop {
            let before = match self.guards.undo() {
                true => Some((run.learner.clone(), to_table(&run.recipe)?)),
                false => None,
            };
            let Try { mut values, bad } = self.attempt(recipe, step, run, observer)?;
            let Some(bad) = bad else {
                run.trainer.guarded = 0;
                return Ok(Taken { values: with_halved(values, halved), ends: None });
            };
            let (verdict, limit) = (bad.verdict, matches!(bad.error, TrainError::Limit { .. }));
            if let (Verdict::Skip | Verdict::Retry, Some((learner, carried))) = (verdict, before) {
                (run.learner, run.recipe) = (learner, from_table(carried)?);
                run.progress.begun = false;
            }
            let ends = match self.allow(step, bad, run) {
                Ok(()) => None,
                Err(error) if limit && verdict != Verdict::Skip => Some(error),
                Err(error) => return Err(error),
            };
            match verdict {
                Verdict::End => return Ok(Taken { values: with_halved(values, halved), ends }),
                Verdict::Slow => {
                    return Ok(Taken { values: with_halved(values, halved + 1), ends });
                }
                Verdict::Retry => halved += 1,
                Verdict::Skip => {
                    values.push(("guard_skipped".into(), 1.0));
                    return Ok(Taken { values: with_halved(values, halved), ends });
                }
            }
        }
    }

    /// Tries a step.
    fn attempt<R: Recipe<T>>(
        &self,
        recipe: &R,
        step: usize,
        run: &mut Run<T, R::State>,
        observer: &mut dyn Observer,
    ) -> Result<Try, TrainError> {
        let before = run.learner.steps();
        let mut phases = Phases { observer, last: None };
        let lr_scale = run.trainer.lr_scale;
        let mut context = Context { lr_scale, ..Context::new(&mut phases, self.stop) };
        let values = recipe.step(step, &mut run.learner, &mut run.recipe, &mut context);
        let phase = phases.last;
        match values {
            Ok(values) => {
                let bad = self.guards.on_values(&values);
                let bad = bad.map(|(error, verdict)| Bad { error, phase: None, verdict });
                Ok(Try { values, bad })
            }
            Err(error) => {
                run.progress.begun = run.learner.steps() > before;
                match error {
                    TrainError::Stopped => Err(TrainError::Stopped),
                    error => {
                        let verdict = self.guards.on_error(&error);
                        let bad = Some(Bad { error, phase, verdict });
                        Ok(Try { values: Values::new(), bad })
                    }
                }
            }
        }
    }

    /// Counts what a guard does, and says it.
    ///
    /// # Errors
    /// The error that ends the run: the one at hand, or that there were too many.
    fn allow<S>(&self, step: usize, bad: Bad, run: &mut Run<T, S>) -> Result<(), TrainError> {
        let Bad { error, phase, verdict } = bad;
        if verdict == Verdict::End {
            return Err(self.named(step, phase, error));
        }
        if run.trainer.guarded >= self.guards.most {
            let (reason, times) = (Box::new(error), run.trainer.guarded);
            return Err(self.named(step, phase, TrainError::TooOften { reason, times }));
        }
        run.trainer.guarded += 1;
        if matches!(verdict, Verdict::Retry | Verdict::Slow) {
            run.trainer.lr_scale /= 2.0;
        }
        let scale = run.trainer.lr_scale;
        (self.tell)(&match verdict {
            Verdict::Skip => format!("step {step} is left out: {error}"),
            Verdict::Retry => {
                format!("step {step} is tried again at {scale} times the rate: {error}")
            }
            _ => format!("from step {} on the rate is {scale} times as large: {error}", step + 1),
        });
        Ok(())
    }
}

fn with_halved(mut values: Values, times: usize) -> Values {
    if times > 0 {
        values.push(("guard_halved".into(), times as f64));
    }
    values
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
