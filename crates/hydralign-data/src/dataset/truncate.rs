use crate::RecordError;
use hydralign_core::Sequence;

/// What becomes of an example that does not fit the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// An error that names the row: nothing is cut unless asked for.
    #[default]
    Refuse,
    /// The example is left out, and counted.
    Drop,
    /// The prompt loses its beginning, but for a BOS: the end of a conversation matters most.
    PromptStart,
    /// The prompt loses its end.
    PromptEnd,
    /// The completion loses its end. What is left has no EOS, so that the model does not learn to
    /// stop there.
    CompletionEnd,
}

/// What was done to fit sequences that share a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitted {
    AsItWas,
    Cut,
    Dropped,
}

impl Truncation {
    /// Makes a prompt fit beside its longest response. `bos` tokens at the start of a prompt
    /// stay. A prompt keeps at least one token and a response too.
    pub(super) fn fit(
        self,
        sequences: &mut [&mut Sequence],
        context: usize,
        bos: usize,
        field: &'static str,
    ) -> Result<Fitted, RecordError> {
        let tokens = sequences.iter().map(|s| s.len()).max().unwrap_or(0);
        let Some(excess) = tokens.checked_sub(context).filter(|&n| n > 0) else {
            return Ok(Fitted::AsItWas);
        };
        let too_long = RecordError::TooLong { field, tokens, context };
        match self {
            Self::Refuse => return Err(too_long),
            Self::Drop => return Ok(Fitted::Dropped),
            Self::PromptStart | Self::PromptEnd => {
                for s in sequences {
                    let kept = bos.min(s.prompt.len());
                    if s.prompt.len() - kept <= excess {
                        return Err(too_long);
                    }
                    match self {
                        Self::PromptStart => drop(s.prompt.drain(kept..kept + excess)),
                        _ => s.prompt.truncate(s.prompt.len() - excess),
                    }
                }
            }
            Self::CompletionEnd => {
                for s in sequences {
                    let room = context.saturating_sub(s.prompt.len());
                    if room == 0 {
                        return Err(too_long);
                    }
                    s.truncate_response(room);
                }
            }
        }
        Ok(Fitted::Cut)
    }
}
