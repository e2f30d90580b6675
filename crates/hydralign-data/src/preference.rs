use crate::encode::{encode_prompt, read_with, sequence};
use crate::{DataError, PreferenceRecord, RecordError, TextTokenizer};
use hydralign_core::Sequence;
use std::path::Path;

/// Two completions of the same prompt, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferencePair {
    /// The prompt with the completion that was preferred.
    pub chosen: Sequence,
    /// The same prompt with the one that was not.
    pub rejected: Sequence,
}

impl PreferencePair {
    /// Tokenises a record for a model with that context.
    ///
    /// Nothing is truncated: a cut completion has lost its EOS, and two long completions cut
    /// at the same place may become equal.
    ///
    /// # Errors
    /// [`RecordError::EmptyText`], [`RecordError::PromptTooLong`], [`RecordError::TooLong`],
    /// [`RecordError::Identical`], [`RecordError::Encode`].
    pub fn new(
        tokenizer: &TextTokenizer,
        record: &PreferenceRecord,
        context: usize,
    ) -> Result<Self, RecordError> {
        let prompt = encode_prompt(tokenizer, &record.prompt, context)?;
        let chosen = sequence(tokenizer, &prompt, ("chosen", &record.chosen), context)?;
        let rejected = sequence(tokenizer, &prompt, ("rejected", &record.rejected), context)?;
        if chosen == rejected {
            return Err(RecordError::Identical);
        }
        Ok(Self { chosen, rejected })
    }
}

/// Pairs of a JSON Lines file of [`PreferenceRecord`]s, as tokens.
///
/// # Errors
/// Those of [`crate::JsonlReader`], and [`DataError::Record`] as [`PreferencePair::new`].
pub fn read_preferences(
    path: impl AsRef<Path>,
    tokenizer: &TextTokenizer,
    context: usize,
) -> Result<Vec<PreferencePair>, DataError> {
    read_with(path.as_ref(), |record| PreferencePair::new(tokenizer, &record, context))
}
