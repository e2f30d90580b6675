use crate::RunError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit status of a process that Ctrl-C ended: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Asks a loop to stop at the next place where it can; clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is down.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. True if this was the first to ask.
    pub fn stop(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// True once someone has asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Raises the returned flag on the first Ctrl-C (or SIGTERM, or SIGHUP), so that the run can
/// write a checkpoint; the second ends the process at once with status 130.
///
/// Where one of these signals is already handled, or ignored as under `nohup`, it stays so and
/// no handler is installed: the flag is then raised by nothing. For binaries: a process has one
/// such handler.
///
/// # Errors
/// [`RunError::StopHandler`] if the system refuses.
pub fn stop_on_ctrl_c() -> Result<StopFlag, RunError> {
    let flag = StopFlag::new();
    let raised = flag.clone();
    let installed = ctrlc::try_set_handler(move || {
        if !raised.stop() {
            std::process::exit(INTERRUPTED);
        }
    });
    match installed {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(flag),
        Err(reason) => Err(RunError::StopHandler { reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag_and_only_one_is_first() {
        let flag = StopFlag::new();
        let clone = flag.clone();
        assert!(!flag.is_stopped());
        assert!(clone.stop());
        assert!(flag.is_stopped());
        assert!(!flag.stop());
        assert!(!StopFlag::new().is_stopped());
    }
}
