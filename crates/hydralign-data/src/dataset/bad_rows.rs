use crate::RecordError;
use serde::Serialize;

/// What becomes of a row that nothing can be learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadRow {
    /// An error that names the row.
    #[default]
    Refuse,
    /// The row is left out, and counted by its cause.
    Skip,
}

/// Rows that were left out because nothing could be learnt from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Completions that are the same tokens.
    pub equal: usize,
    /// A prompt or a completion without text.
    pub empty: usize,
    /// Longer than the context.
    pub too_long: usize,
    /// A field that is missing, of another type, or says what is not understood.
    pub unfit: usize,
    /// No JSON object.
    pub malformed: usize,
}

impl Skipped {
    /// All of them.
    pub fn total(&self) -> usize {
        self.causes().iter().map(|(count, _)| count).sum()
    }

    /// Counts with what they are of.
    pub(super) fn causes(&self) -> [(usize, &'static str); 5] {
        let Self { equal, empty, too_long, unfit, malformed } = *self;
        [
            (equal, "bad rows were skipped: equal completions"),
            (empty, "bad rows were skipped: an empty prompt or completion"),
            (too_long, "bad rows were skipped: too long"),
            (unfit, "bad rows were skipped: a missing or unfit field"),
            (malformed, "bad rows were skipped: not a JSON object"),
        ]
    }

    /// Counts a row; false if what is wrong lies with the model and not with the row.
    pub(super) fn count(&mut self, fault: &RecordError) -> bool {
        let counter = match fault {
            RecordError::NoTemplate { .. }
            | RecordError::Encode { .. }
            | RecordError::LineTooLong { .. } => return false,
            RecordError::Identical => &mut self.equal,
            RecordError::EmptyText { .. } => &mut self.empty,
            RecordError::PromptTooLong { .. } | RecordError::TooLong { .. } => &mut self.too_long,
            RecordError::Syntax { .. }
            | RecordError::NotUtf8 { .. }
            | RecordError::NotAnObject { .. } => &mut self.malformed,
            _ => &mut self.unfit,
        };
        *counter += 1;
        true
    }
}
