use crate::RunError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Raises the returned flag on the first Ctrl-C (SIGINT), SIGTERM or SIGHUP, so that the run can save
/// what it has learnt; a second SIGINT or SIGTERM ends the process at once with status 128 plus its number.
///
/// Each signal is looked at by itself: one that the process was started to ignore, as SIGHUP under `nohup`
/// and SIGINT behind `&` in a script, stays ignored, and the others are handled. A second SIGHUP ends
/// nothing: a terminal that closes sends two, one by the shell and one by the system. Which signals are
/// ignored is read from `/proc`; where there is none, all are handled. For binaries.
///
/// # Errors
/// [`RunError::StopHandler`] if the system refuses.
pub fn stop_on_ctrl_c() -> Result<StopFlag, RunError> {
    let flag = StopFlag::new();
    let ignored = ignored_signals();
    let handled = |signal: i32| ignored & (1 << (signal - 1)) == 0;
    for signal in [SIGINT, SIGTERM].into_iter().filter(|&s| handled(s)) {
        // Looks at the flag before the other handler raises it: the order of registration counts.
        register_conditional_shutdown(signal, 128 + signal, flag.0.clone())
            .and_then(|_| register(signal, flag.0.clone()))
            .map_err(|reason| RunError::StopHandler { signal, reason })?;
    }
    #[cfg(unix)]
    {
        let signal = signal_hook::consts::SIGHUP;
        if handled(signal) {
            register(signal, flag.0.clone())
                .map_err(|reason| RunError::StopHandler { signal, reason })?;
        }
    }
    Ok(flag)
}

/// Bit n − 1 is set if this process ignores signal n.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
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
