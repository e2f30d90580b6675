use crate::judge::fault::Fault;
use crate::judge::seconds;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The waits between attempts.
///
/// w_n = min(cap, first·2^{n−1})
///
/// A server that names a wait itself (`Retry-After`) is waited for at least that long. If it
/// asks for more than the cap, it is not asked again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Seconds before the second attempt.
    #[serde(with = "seconds")]
    pub first: Duration,
    /// The longest wait, in seconds.
    #[serde(with = "seconds")]
    pub cap: Duration,
}

impl Default for Backoff {
    /// Half a second, and a minute.
    fn default() -> Self {
        Self { first: Duration::from_millis(500), cap: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after that many attempts.
    fn after(&self, attempts: u32) -> Duration {
        let factor = 2u32.saturating_pow(attempts.saturating_sub(1));
        self.first.saturating_mul(factor).min(self.cap)
    }

    fn at_least(&self, asked: Option<Duration>, attempts: u32) -> Option<Duration> {
        match asked {
            Some(asked) if asked > self.cap => None,
            asked => Some(self.after(attempts).max(asked.unwrap_or_default())),
        }
    }
}

/// Counts the attempts at one question.
pub(crate) struct Attempts {
    backoff: Backoff,
    left: u32,
    /// A reply that makes no sense is given one more chance: a model that misunderstood twice
    /// goes on doing so.
    lies_left: u32,
    pub(crate) made: u32,
}

impl Attempts {
    pub(crate) fn new(backoff: Backoff, retries: u32) -> Self {
        Self { backoff, left: retries, lies_left: 1, made: 0 }
    }

    /// How long to wait before the next attempt; none if there is none.
    pub(crate) fn wait_after(&mut self, fault: &Fault) -> Option<Duration> {
        let lies = fault.is_lie();
        if self.left == 0 || !fault.may_pass() || (lies && self.lies_left == 0) {
            return None;
        }
        self.left -= 1;
        self.lies_left -= u32::from(lies);
        self.backoff.at_least(fault.asked_wait(), self.made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retries: u32, faults: &[Fault]) -> Vec<Option<u128>> {
        let backoff = Backoff { first: Duration::from_millis(100), cap: Duration::from_secs(2) };
        let mut attempts = Attempts::new(backoff, retries);
        let wait = |fault| {
            attempts.made += 1;
            attempts.wait_after(fault).map(|wait| wait.as_millis())
        };
        faults.iter().map(wait).collect()
    }

    fn busy(seconds: Option<u64>) -> Fault {
        let asked_wait = seconds.map(Duration::from_secs);
        Fault::Status { status: 429, asked_wait, reply: String::new() }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let faults: Vec<_> = (0..8).map(|_| Fault::TimedOut).collect();
        let expected = [100, 200, 400, 800, 1600, 2000, 2000].map(Some);
        assert_eq!(waits(7, &faults), [&expected[..], &[None]].concat());
        assert_eq!(waits(0, &faults[..1]), [None]);
    }

    #[test]
    fn no_number_of_attempts_overflows() {
        let longest = Backoff { first: Duration::MAX, cap: Duration::MAX };
        assert_eq!(longest.after(u32::MAX), Duration::MAX);
    }

    #[test]
    fn a_wait_that_the_server_names_is_a_lower_bound() {
        let faults = [busy(Some(1)), busy(None), busy(Some(0)), busy(Some(3))];
        assert_eq!(waits(9, &faults), [Some(1000), Some(200), Some(400), None]);
    }

    #[test]
    fn a_lie_is_given_one_more_chance() {
        let lie = || Fault::NotJson { reply: String::new() };
        assert_eq!(waits(9, &[lie(), Fault::TimedOut, lie()]), [Some(100), Some(200), None]);
        let refused = Fault::Status { status: 401, asked_wait: None, reply: String::new() };
        assert_eq!(waits(9, &[refused]), [None]);
    }
}
