//! Runs that keep checkpoints and go on from them.

use crate::setup::Setup;
use crate::watch::{Watch, tell};
use crate::{note, say};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use clap::parser::ValueSource;
use hydralign::core::Phase;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{
    CHECKPOINTS, MetricsFile, MetricsLine, Overwrite, Place, Progress, RunFolder, read_metrics,
    write_dir_atomic,
};
use hydralign::train::{Best, Checkpoints, Recipe, StageCheckpoints, Trainable, Trainer, run_name};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;

/// Flags of programs that keep checkpoints.
#[derive(clap::Args, Debug, Serialize)]
pub struct ResumeArgs {
    /// Go on with a run that was stopped or killed, from its newest checkpoint and with its own settings.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub resume: Option<PathBuf>,
    /// Steps from one checkpoint to the next; there is one at the end, and where a signal stops the run. 0 keeps none.
    #[arg(long, default_value_t = 100, value_name = "STEPS")]
    pub checkpoint_every: usize,
    /// Checkpoints that are kept, the newest.
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    pub keep_checkpoints: usize,
}

impl ResumeArgs {
    /// # Errors
    /// A count of 0.
    pub fn check(&self) -> Result<()> {
        crate::flags::counts(&[("--keep-checkpoints", self.keep_checkpoints)])
    }

    /// A run that goes on does so in its own folder.
    pub fn find(&self, place: &mut Place) {
        if let Some(dir) = &self.resume {
            place.out = Some(dir.clone());
            place.existing = Overwrite::Continue;
        }
    }

    fn checkpoints(&self, folder: &RunFolder) -> Result<Option<Checkpoints>> {
        let (every, keep) = (self.checkpoint_every, self.keep_checkpoints);
        let run = run_of(folder)?;
        Ok((every > 0).then(|| Checkpoints::new(folder.file(CHECKPOINTS), &run, every, keep)))
    }
}

/// Names a run by the settings in its folder.
fn run_of(folder: &RunFolder) -> Result<String> {
    let config = folder.file("config.toml");
    let settings = std::fs::read_to_string(&config);
    Ok(run_name(&settings.with_context(|| config.display().to_string())?))
}

/// The checkpoints of a run of several stages.
///
/// # Errors
/// A folder without settings.
pub fn stage_checkpoints(folder: &RunFolder, keep: usize) -> Result<StageCheckpoints> {
    Ok(StageCheckpoints { folder: folder.file(CHECKPOINTS), run: run_of(folder)?, keep })
}

/// What to read instead of the command line where it says `--resume DIR`: the settings of that run.
///
/// # Errors
/// Another flag beside it, which could not be followed.
pub fn resumed<A: Parser>(given: &[OsString]) -> Result<Option<PathBuf>> {
    let command = A::command();
    if !command.get_arguments().any(|a| a.get_id() == "resume") {
        return Ok(None);
    }
    let matches = command.ignore_errors(true).get_matches_from(given);
    let Some(dir) = matches.get_one::<PathBuf>("resume") else { return Ok(None) };
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let config = dir.join("config.toml");
    let known = A::command();
    let mut flags = known.get_arguments().map(|a| a.get_id().as_str());
    if let Some(other) = flags.find(|id| *id != "resume" && typed(id)) {
        let (flag, config) = (other.replace('_', "-"), config.display());
        bail!("--resume goes on with the settings of {config}: leave --{flag} out");
    }
    ensure!(config.is_file(), "--resume {}: there is no config.toml in it", dir.display());
    Ok(Some(config))
}

impl Setup {
    /// Takes the steps of a recipe, from the newest checkpoint if the run goes on; saves what was learnt and
    /// says how good it is. `bank` gives the policy that is in what was trained; `shown` are the statistics that are
    /// printed, and after how many steps.
    ///
    /// # Errors
    /// What ended the training early, with where the weights are.
    pub fn train<T: Trainable, R: Recipe<T>>(
        &self,
        stage: &str,
        (folder, resume): (RunFolder, &ResumeArgs),
        recipe: &R,
        (learner, bank): (T, impl Fn(T) -> ModelBank),
        watch: Watch<'_, T>,
        (shown, every): (&[&str], usize),
    ) -> Result<()> {
        let models = 1 + u64::from(watch.best.is_some());
        let beside = 4 * models * self.policy.trunk.architecture().shape.parameters();
        let (checkpoints, mut metrics) =
            self.prepare(&folder, || self.resumed(&folder, resume, stage))?;
        let checkpoints = checkpoints.map(|all| all.beside(beside));
        let reported = watch.best.as_ref().map(hydralign::train::BestBy::reported);
        let shown: Vec<&str> = shown.iter().copied().chain(reported.as_deref()).collect();
        let mut progress = Progress::stderr(&shown, every);
        let mut observers = (&mut metrics, &mut progress);
        let Watch { evaluation, best, guards } = watch;
        let trainer = Trainer {
            checkpoints,
            evaluation,
            best,
            guards,
            tell: &tell,
            ..Trainer::new(stage, &self.stop)
        };
        let trained =
            self.prepare(&folder, || Ok(trainer.train(recipe, learner, &mut observers)?))?;
        observers.phase(Phase::Report);
        progress.finish();
        let ended = trained.ended.map_err(anyhow::Error::from);
        let ended = ended.and(metrics.finish().map_err(Into::into));
        let (dir, target) = (folder.path().to_owned(), folder.target().to_owned());
        let stopped = trained.progress.done < trained.progress.steps;
        if let (Some(best), false, Ok(())) = (&trained.best, stopped, &ended) {
            self.prepare(&folder, || {
                let checkpoints = resume.checkpoints(&folder)?;
                let checkpoints = checkpoints.context("--best-metric needs checkpoints")?;
                let record = checkpoints.read(best.step)?.learner;
                let best = bank(trained.learner.clone().with_record(record)?);
                write_dir_atomic(&folder.result(BEST)?, |dir| self.save(&best, dir))
            })?;
        }
        self.finish(folder, &bank(trained.learner), trained.progress, ended)?;
        if let (Some(Best { metric, value, step, .. }), false) = (&trained.best, stopped) {
            let best = target.join(BEST);
            say!("best by {metric}, {value:.4}: after step {step}, saved in {}", best.display());
        }
        if stopped && resume.checkpoint_every > 0 {
            say!("--resume {} goes on", dir.display());
        }
        Ok(())
    }

    /// The checkpoints and the metrics of a run that begins or goes on.
    fn resumed(
        &self,
        folder: &RunFolder,
        resume: &ResumeArgs,
        stage: &str,
    ) -> Result<(Option<Checkpoints>, MetricsFile)> {
        let checkpoints = resume.checkpoints(folder)?;
        let newest = checkpoints.as_ref().map(Checkpoints::newest_step).transpose()?.flatten();
        let done = newest.unwrap_or(0);
        if resume.resume.is_some() {
            let result = folder.file(self.result());
            ensure!(
                newest.is_some() || !result.exists(),
                "{} has a result and no checkpoint to go on from: --config {} trains anew",
                folder.path().display(),
                folder.file("config.toml").display()
            );
            say!("goes on after step {done}");
        }
        let metrics = metrics_after(folder, &[(stage, done)])?;
        Ok((checkpoints, metrics))
    }
}

/// The name of the best model in a run folder, beside the last.
const BEST: &str = "best";

/// The metrics of a run, with its event file for TensorBoard: those of the steps that the checkpoints of each stage
/// hold stay, those after them will be reported again.
///
/// # Errors
/// A file that cannot be read or written.
pub fn metrics_after(folder: &RunFolder, stages: &[(&str, usize)]) -> Result<MetricsFile> {
    let path = &folder.file("metrics.jsonl");
    let events = folder.file("tensorboard");
    let done = |stage: &str| stages.iter().find(|(name, _)| *name == stage).map_or(0, |s| s.1);
    let kept = |line: &MetricsLine| line.step <= done(&line.stage);
    let steps: usize = stages.iter().map(|(_, done)| done).sum();
    if steps == 0 {
        return Ok(MetricsFile::create(path)?.with_tensorboard(&events)?);
    }
    if !path.exists() {
        note(&format!("{} is not there: it begins after step {steps}", path.display()));
        return Ok(MetricsFile::create(path)?.with_tensorboard(&events)?);
    }
    let there = read_metrics(path)?.iter().filter(|line| kept(line)).count();
    if there < steps {
        let missing = steps - there;
        note(&format!("{}: {missing} of the {steps} steps before are not in it", path.display()));
    }
    Ok(MetricsFile::resume(path, kept)?.with_tensorboard(&events)?)
}
