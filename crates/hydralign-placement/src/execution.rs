use crate::PlacementError;
use serde::{Deserialize, Serialize};

/// How passes are carried out: the same numbers up to rounding, other bytes and seconds.
///
/// The default does everything at once, as automatic differentiation would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Execution {
    /// Tokens per piece in which the vocabulary is visited for log-probabilities and entropies;
    /// none: all tokens of a micro-batch at once.
    pub logprob_chunk: Option<usize>,
    /// Blocks that are recomputed together in a backward pass, of which only the input is kept
    /// until then (Chen et al. 2016); none: nothing is recomputed.
    pub segment_blocks: Option<usize>,
}

impl Execution {
    /// Refuses pieces of nothing.
    ///
    /// # Errors
    /// [`PlacementError::EmptyPieces`] for a setting that is zero.
    pub fn validate(&self) -> Result<(), PlacementError> {
        let settings =
            [("logprob_chunk", self.logprob_chunk), ("segment_blocks", self.segment_blocks)];
        match settings.into_iter().find(|(_, size)| *size == Some(0)) {
            Some((setting, _)) => Err(PlacementError::EmptyPieces { setting }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_at_least_one() {
        let mut execution = Execution::default();
        assert_eq!(execution.validate(), Ok(()));
        execution.segment_blocks = Some(1);
        assert_eq!(execution.validate(), Ok(()));
        execution.logprob_chunk = Some(0);
        let setting = "logprob_chunk";
        assert_eq!(execution.validate(), Err(PlacementError::EmptyPieces { setting }));
        let setting = "segment_blocks";
        execution = Execution { logprob_chunk: Some(7), segment_blocks: Some(0) };
        assert_eq!(execution.validate(), Err(PlacementError::EmptyPieces { setting }));
    }
}
