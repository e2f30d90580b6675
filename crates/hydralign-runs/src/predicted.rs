use crate::RunError;
use crate::json_lines::{read_json_lines, write_json_lines};
use hydralign_memory::Prediction;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the file of a run's predictions in its folder.
const PREDICTED: &str = "predicted.jsonl";

/// One line of `predicted.jsonl`: the bytes that a stage was expected to hold at most, by phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedBytes {
    /// Stage of the run.
    pub stage: String,
    /// Name and bytes of each phase.
    #[serde(with = "crate::ordered")]
    pub phases: Vec<(String, u64)>,
    /// Bytes that it was not to exceed, if it had a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
}

impl PredictedBytes {
    /// What a prediction says of a stage.
    pub fn new(stage: &str, prediction: &Prediction, budget: Option<u64>) -> Self {
        let bytes = prediction.iter().map(|(phase, held)| (phase.name().to_owned(), held.total()));
        Self { stage: stage.to_owned(), phases: bytes.collect(), budget }
    }
}

/// Writes what a stage is expected to hold into a run's folder, in the place of what stands there of that
/// stage.
///
/// # Errors
/// [`RunError::Io`], and [`RunError::JsonLine`] as for [`read_predicted`].
pub fn record_predicted(folder: &Path, predicted: PredictedBytes) -> Result<(), RunError> {
    let path = folder.join(PREDICTED);
    let mut all = read_predicted(folder)?;
    all.retain(|earlier| earlier.stage != predicted.stage);
    all.push(predicted);
    write_json_lines(&path, &all)
}

/// The predictions of the run in a folder; none if it has not left any.
///
/// # Errors
/// [`RunError::Io`], or [`RunError::JsonLine`] with the number of a line that is whole and still no
/// prediction.
pub fn read_predicted(folder: &Path) -> Result<Vec<PredictedBytes>, RunError> {
    read_json_lines(&folder.join(PREDICTED), "predictions")
}
