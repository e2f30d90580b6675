//! Runs that keep checkpoints and go on from them.

use crate::setup::Setup;
use crate::{note, say};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use clap::parser::ValueSource;
use hydralign::core::{Observers, Phase};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::runs::{
    CHECKPOINTS, MetricsFile, Overwrite, Place, Progress, RunFolder, read_metrics,
};
use hydralign::train::{Checkpoints, Recipe, Trainable, Trainer};
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
    /// Steps from one checkpoint to the next; there is one at the end, and where a signal stops the run.
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
        let Self { checkpoint_every, keep_checkpoints, .. } = *self;
        crate::flags::counts(&[
            ("--checkpoint-every", checkpoint_every),
            ("--keep-checkpoints", keep_checkpoints),
        ])
    }

    /// A run that goes on does so in its own folder.
    pub fn find(&self, place: &mut Place) {
        if let Some(dir) = &self.resume {
            place.out = Some(dir.clone());
            place.existing = Overwrite::Continue;
        }
    }

    fn checkpoints(&self, folder: &RunFolder) -> Result<Checkpoints> {
        let config = folder.file("config.toml");
        let settings = std::fs::read_to_string(&config);
        let settings = settings.with_context(|| config.display().to_string())?;
        let (every, keep) = (self.checkpoint_every, self.keep_checkpoints);
        let run = hydralign::train::run_name(&settings);
        Ok(Checkpoints::new(folder.file(CHECKPOINTS), &run, every, keep))
    }
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
    /// says how good it is. `bank` gives the policy that is in what was trained; `shown` are the statistics that are printed, and after how many steps.
    ///
    /// # Errors
    /// What ended the training early, with where the weights are.
    pub fn train<T: Trainable, R: Recipe<T>>(
        &self,
        stage: &str,
        (folder, resume): (RunFolder, &ResumeArgs),
        recipe: &R,
        (learner, bank): (T, impl FnOnce(T) -> ModelBank),
        (shown, every): (&[&str], usize),
    ) -> Result<()> {
        let (checkpoints, mut metrics) = self.prepare(&folder, || {
            let checkpoints = resume.checkpoints(&folder)?;
            let newest = checkpoints.newest_step()?;
            let done = newest.unwrap_or(0);
            if resume.resume.is_some() {
                let model = folder.file("model");
                ensure!(
                    newest.is_some() || !model.exists(),
                    "{} has a model and no checkpoint to go on from: --config {} trains anew",
                    folder.path().display(),
                    folder.file("config.toml").display()
                );
                say!("goes on after step {done}");
            }
            Ok((checkpoints, metrics_after(&folder, done)?))
        })?;
        let mut progress = Progress::stderr(shown, every);
        let mut observers = Observers(vec![&mut metrics, &mut progress]);
        let trainer = Trainer { stage, stop: &self.stop, checkpoints: Some(checkpoints) };
        let trained =
            self.prepare(&folder, || Ok(trainer.train(recipe, learner, &mut observers)?))?;
        observers.phase(Phase::Report);
        drop(observers);
        progress.finish();
        let ended = trained.ended.map_err(anyhow::Error::from);
        let ended = ended.and(metrics.finish().map_err(Into::into));
        let dir = folder.path().to_owned();
        let stopped = trained.progress.done < trained.progress.steps;
        self.finish(folder, &bank(trained.learner), trained.progress, ended)?;
        if stopped {
            say!("--resume {} goes on", dir.display());
        }
        Ok(())
    }
}

/// The metrics of a run, with its event file for TensorBoard: those of the steps that a checkpoint holds stay,
/// those after it will be reported again.
///
/// # Errors
/// A file that cannot be read or written.
pub fn metrics_after(folder: &RunFolder, done: usize) -> Result<MetricsFile> {
    let path = folder.file("metrics.jsonl");
    let metrics = match done > 0 && path.exists() {
        true => {
            let there = read_metrics(&path)?.iter().filter(|line| line.step <= done).count();
            if there < done {
                note(&format!(
                    "{}: {} of the {done} steps before are not in it",
                    path.display(),
                    done - there
                ));
            }
            MetricsFile::resume(&path, |line| line.step <= done)?
        }
        false => {
            if done > 0 {
                note(&format!("{} is not there: it begins after step {done}", path.display()));
            }
            MetricsFile::create(&path)?
        }
    };
    Ok(metrics.with_tensorboard(&folder.file("tensorboard"))?)
}
