use crate::{RunError, RunFolder, StopFlag, write_dir_atomic};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// How far a loop of training came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Steps done.
    pub done: usize,
    /// Steps there were to do.
    pub steps: usize,
    /// Part of the next step is done too: weights have moved since.
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

/// Saves what a loop has learnt, however it ended: the weights as `name` in the run's folder.
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
    let fault = ended.err().map(|e| format!("{e:#}"));
    let learnt = progress.done > 0 || progress.begun;
    if !learnt && (fault.is_some() || stop.is_stopped()) {
        let why = fault.unwrap_or_else(|| "stopped".into());
        return Err(RunError::NothingLearnt { why }.into());
    }
    let path = folder.result(name)?;
    if let Err(reason) = write_dir_atomic(&path, save) {
        let reason = [fault, Some(format!("{reason:#}"))];
        let reason = reason.into_iter().flatten().collect::<Vec<_>>().join("; ");
        return Err(RunError::NotSaved { reason, progress, path }.into());
    }
    match fault {
        Some(reason) => Err(RunError::Kept { reason, progress, path }.into()),
        None if progress.done < progress.steps => Ok(Kept::Stopped(path)),
        None => Ok(Kept::Complete(folder.finish()?.join(name))),
    }
}
