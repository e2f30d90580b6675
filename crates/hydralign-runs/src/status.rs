use crate::Steps;
use serde::{Deserialize, Serialize};

/// Name of a run's status in its folder.
pub(crate) const STATUS: &str = "status.json";

/// How far a run has come: the file `status.json` of its folder, for those who find the folder later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Under way, finished, stopped or failed.
    pub state: RunState,
    /// The stage it came to, of a run with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Steps done and steps there were to do, of that stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Steps>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It is under way; or it was ended from outside, and could say nothing.
    Running,
    /// All steps are done, and the result is complete.
    Finished,
    /// A signal came before the last step.
    Stopped,
    /// An error ended it.
    Failed,
}

impl RunStatus {
    /// A state alone.
    pub fn new(state: RunState) -> Self {
        Self { state, stage: None, progress: None, reason: None }
    }

    /// An error has ended the run.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::new(RunState::Failed) }
    }

    /// A signal has ended the run.
    pub fn stopped() -> Self {
        Self::new(RunState::Stopped)
    }

    /// The same with how far it came.
    pub fn after(self, progress: Steps) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// The same with the stage that it came to.
    pub fn in_stage(self, stage: impl Into<String>) -> Self {
        Self { stage: Some(stage.into()), ..self }
    }
}
