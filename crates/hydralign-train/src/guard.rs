use crate::named::named;
use crate::{TrainError, Values};
use hydralign_core::{CoreError, Episode, Reward};
use hydralign_runs::RunError;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What is done about numbers that go bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNumbers {
    /// The run ends with the error.
    #[default]
    Stop,
    /// The step is undone and left out.
    Skip,
    /// The learning rate is halved from there on. A loss or gradient that is not finite undoes the step, which is tried
    /// again at that rate.
    Halve,
}

/// What is done about a step that has nothing to learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFault {
    /// The run ends with the error.
    #[default]
    Stop,
    /// The step is left out.
    Skip,
}

named!(OnNumbers, "stop" => Stop, "skip" => Skip, "halve" => Halve);
named!(OnFault, "stop" => Stop, "skip" => Skip);

/// A bound of a statistic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Where it is.
    pub at: f64,
    /// What is done beyond it. KL and entropy are those of the policy before the step, so `Halve` lets the step stand.
    pub action: OnNumbers,
}

/// What is done when a run goes wrong; unless told otherwise, it ends with the error.
///
/// `Skip` and `Halve` hold what is trained and its optimizer's state twice while a step is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// About a loss or gradient that is not finite.
    pub non_finite: OnNumbers,
    /// About a `kl` above a limit; a step that reports none is not looked at.
    pub kl: Option<Limit>,
    /// About an `entropy` below a limit; a step that reports none is not looked at.
    pub entropy: Option<Limit>,
    /// About a reward that fails, or gives scores that cannot be used. An evaluation is left out in the same way.
    pub reward: OnFault,
    /// About a rollout whose responses are all empty.
    pub empty: OnFault,
    /// Times in a row that a guard may act before the run ends.
    pub most: usize,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            non_finite: OnNumbers::Stop,
            kl: None,
            entropy: None,
            reward: OnFault::Stop,
            empty: OnFault::Stop,
            most: 10,
        }
    }
}

/// What a guard does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ends the run.
    End,
    /// Undoes the step and goes on with the next.
    Skip,
    /// Undoes the step and takes it again at half the rate.
    Retry,
    /// Goes on at half the rate.
    Slow,
}

impl Guards {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RunError::Setting`] names the first that is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let wrong = |field: &str, value: f64, expected| {
            Err(RunError::Setting { field: field.into(), value, expected }.into())
        };
        if self.most == 0 {
            return wrong("most", 0.0, "at least 1");
        }
        match (self.kl, self.entropy) {
            (Some(kl), _) if kl.at.is_nan() || kl.at <= 0.0 => wrong("kl limit", kl.at, "above 0"),
            (_, Some(entropy)) if !(entropy.at >= 0.0 && entropy.at.is_finite()) => {
                wrong("entropy limit", entropy.at, "at least 0, and finite")
            }
            _ => Ok(()),
        }
    }

    /// Whether a step may have to be undone.
    pub(crate) fn undo(&self) -> bool {
        let limits = [self.kl, self.entropy];
        self.non_finite != OnNumbers::Stop
            || self.reward == OnFault::Skip
            || self.empty == OnFault::Skip
            || limits.iter().flatten().any(|limit| limit.action == OnNumbers::Skip)
    }

    /// What is done about the error of a step.
    pub(crate) fn on_error(&self, error: &TrainError) -> Verdict {
        let fault = |on: OnFault| if on == OnFault::Skip { Verdict::Skip } else { Verdict::End };
        match error {
            TrainError::Step { reason, .. } => self.on_error(reason),
            TrainError::EmptyResponses { .. } => fault(self.empty),
            error if error.is_of_reward() => fault(self.reward),
            error if error.is_numerical() => match self.non_finite {
                OnNumbers::Stop => Verdict::End,
                OnNumbers::Skip => Verdict::Skip,
                OnNumbers::Halve => Verdict::Retry,
            },
            _ => Verdict::End,
        }
    }

    /// The first bound that a step's numbers have left, and what is done about it.
    pub(crate) fn on_values(&self, values: &Values) -> Option<(TrainError, Verdict)> {
        let bounds = [("kl", self.kl, true), ("entropy", self.entropy, false)];
        bounds.into_iter().find_map(|(name, limit, above)| {
            let (limit, (_, value)) = (limit?, values.iter().find(|(n, _)| n == name)?);
            let out = match above {
                true => value.is_nan() || *value > limit.at,
                false => value.is_nan() || *value < limit.at,
            };
            let verdict = match limit.action {
                OnNumbers::Stop => Verdict::End,
                OnNumbers::Skip => Verdict::Skip,
                OnNumbers::Halve => Verdict::Slow,
            };
            let error = TrainError::Limit { name, value: *value, limit: limit.at, above };
            out.then_some((error, verdict))
        })
    }
}

/// A reward that must answer within a time.
///
/// It scores on a thread of its own. What it promises: the caller waits no longer than the limit, and gets an error
/// that names it, or what a panic of the reward has said. What it cannot: end the thread. One that hangs goes on, holding
/// what it holds, until it returns or the process ends; each call begins a new one. Scores are those of the reward.
#[derive(Clone)]
pub struct TimedReward {
    reward: Arc<dyn Reward + Send + Sync>,
    limit: Duration,
}

impl TimedReward {
    /// A reward and the time that it has for the episodes of one call.
    pub fn new(reward: impl Reward + Send + Sync + 'static, limit: Duration) -> Self {
        Self { reward: Arc::new(reward), limit }
    }
}

impl Reward for TimedReward {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let (reward, episodes) = (Arc::clone(&self.reward), episodes.to_vec());
        let thread = std::thread::Builder::new().name("reward".into());
        let thread = thread.spawn(move || drop(answer.send(reward.score(&episodes))));
        let thread = thread.map_err(|error| CoreError::Other(error.into()))?;
        match answered.recv_timeout(self.limit) {
            Ok(scores) => scores,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let text = format!("no answer within {:?}", self.limit);
                Err(CoreError::Other(text.into()))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let said = thread.join().err().unwrap_or_else(|| Box::new("nothing"));
                Err(CoreError::Other(format!("it panicked: {}", panic_text(&*said)).into()))
            }
        }
    }
}

/// What a panic was given to say.
fn panic_text(said: &(dyn std::any::Any + Send)) -> &str {
    let text = said.downcast_ref::<&str>().copied();
    text.or_else(|| said.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
