use crate::{RunError, RunFolder, RunStatus, StopFlag, write_dir_atomic};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// How far a loop of training came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// Steps done.
    pub done: usize,
    /// Steps there were to do.
    pub steps: usize,
    /// Part of the next step is done too: weights have moved since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
}

impl Display for Steps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { done, steps, begun } = self;
        match begun {
            true => write!(f, "within step {} of {steps}", done + 1),
            false => write!(f, "after step {done} of {steps}"),
        }
    }
}

/// Where the weights of a loop are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All steps were done; an earlier result of that name is replaced.
    Complete(PathBuf),
    /// A signal came before the last step. An earlier result is still in its place.
    Stopped(PathBuf),
}

/// Saves what a loop has learnt, however it ended: the weights as `name` in the run's folder, and in the
/// folder's status how far it came.
///
/// After the last step the folder takes the place of an earlier result. After a stop or a fault the weights
/// of the last step are saved and an earlier result stays; without a step there is nothing to save.
///
/// # Errors
/// [`RunError::NothingLearnt`]; [`RunError::Kept`] after a fault, with its reason and where the weights
/// are; [`RunError::NotSaved`].
pub fn keep<E: Display + From<RunError>>(
    folder: RunFolder,
    name: &str,
    progress: Steps,
    ended: Result<(), E>,
    stop: &StopFlag,
    save: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Kept, E> {
    match keep_in(&folder, name, progress, ended, stop, save)? {
        Kept::Complete(_) => Ok(Kept::Complete(folder.finish()?.join(name))),
        stopped => Ok(stopped),
    }
}

/// As [`keep`], for one stage of several: the folder is not finished after its last step.
///
/// # Errors
/// As [`keep`].
pub fn keep_in<E: Display + From<RunError>>(
    folder: &RunFolder,
    name: &str,
    progress: Steps,
    ended: Result<(), E>,
    stop: &StopFlag,
    save: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Kept, E> {
    let fault = ended.err().map(|e| format!("{e:#}"));
    // What the run has to say goes before what its folder cannot take.
    let tell = |status: RunStatus| drop(folder.set_status(&status.after(progress)));
    let learnt = progress.done > 0 || progress.begun;
    if !learnt && (fault.is_some() || stop.is_stopped()) {
        tell(fault.as_deref().map_or_else(RunStatus::stopped, RunStatus::failed));
        let why = fault.unwrap_or_else(|| "stopped".into());
        return Err(RunError::NothingLearnt { why }.into());
    }
    let path = folder.file(name);
    let marked = folder.result(name).map_err(E::from);
    if let Err(reason) = marked.and_then(|path| write_dir_atomic(&path, save)) {
        let reason = [fault, Some(format!("{reason:#}"))];
        let reason = reason.into_iter().flatten().collect::<Vec<_>>().join("; ");
        tell(RunStatus::failed(&reason));
        return Err(RunError::NotSaved { reason, progress, path }.into());
    }
    match fault {
        Some(reason) => {
            tell(RunStatus::failed(&reason));
            Err(RunError::Kept { reason, progress, path }.into())
        }
        None if progress.done < progress.steps => {
            tell(RunStatus::stopped());
            Ok(Kept::Stopped(path))
        }
        None => Ok(Kept::Complete(path)),
    }
}
