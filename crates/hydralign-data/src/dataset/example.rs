use super::Content;
use super::turns::split_conversation;
use crate::RecordError;

/// One example of a data set, whatever the shape of its row.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// A whole text or conversation.
    Text(Content),
    /// A prompt to respond to.
    Prompt(Content),
    /// A completion to imitate.
    Completion {
        /// The prompt.
        prompt: Content,
        /// The completion.
        completion: Content,
    },
    /// Two completions of one prompt, of which one was preferred.
    Preference {
        /// The prompt.
        prompt: Content,
        /// The completion that was preferred.
        chosen: Content,
        /// The one that was not.
        rejected: Content,
    },
    /// A completion that was liked or not.
    Unpaired {
        /// The prompt.
        prompt: Content,
        /// The completion.
        completion: Content,
        /// Whether it was liked.
        label: bool,
    },
}

impl Example {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Prompt(_) => "a prompt",
            Self::Completion { .. } => "a completion",
            Self::Preference { .. } => "a preference",
            Self::Unpaired { .. } => "a labelled completion",
        }
    }

    /// The prompt, of everything that has one: of a conversation all that is before the assistant's
    /// first turn, or the whole of it if the assistant has not spoken last.
    ///
    /// # Errors
    /// [`RecordError::WrongKind`] for a whole text, [`RecordError::Turns`] for a conversation that
    /// begins with the assistant.
    pub fn into_prompt(self) -> Result<Content, RecordError> {
        match self {
            Self::Prompt(prompt)
            | Self::Completion { prompt, .. }
            | Self::Preference { prompt, .. }
            | Self::Unpaired { prompt, .. } => Ok(prompt),
            Self::Text(Content::Chat(turns)) => match turns.last() {
                Some(last) if last.role == "assistant" => {
                    split_conversation("messages", turns).map(|(prompt, _)| prompt)
                }
                _ => Ok(Content::Chat(turns)),
            },
            Self::Text(Content::Plain(_)) => Err(self.not("a prompt")),
        }
    }

    /// Whether it is a conversation with more than one question, of which [`Example::into_prompt`] takes
    /// the first.
    pub(super) fn goes_on(&self) -> bool {
        let Self::Text(Content::Chat(turns)) = self else { return false };
        let mut answered = turns.iter().skip_while(|turn| turn.role != "assistant");
        turns.last().is_some_and(|last| last.role == "assistant")
            && answered.any(|turn| turn.role == "user")
    }

    /// A prompt and what follows it; of a conversation, from the assistant's first turn.
    ///
    /// # Errors
    /// [`RecordError::WrongKind`] for anything else, [`RecordError::Turns`] for a conversation
    /// without an answer or without a prompt.
    pub fn into_completion(self) -> Result<(Content, Content), RecordError> {
        match self {
            Self::Completion { prompt, completion } => Ok((prompt, completion)),
            Self::Text(Content::Chat(turns)) => split_conversation("messages", turns),
            other => Err(other.not("a completion")),
        }
    }

    /// A preference as two labelled completions; a labelled completion as it is.
    ///
    /// # Errors
    /// [`RecordError::WrongKind`] for anything else.
    pub fn into_unpaired(self) -> Result<Vec<(Content, Content, bool)>, RecordError> {
        match self {
            Self::Unpaired { prompt, completion, label } => Ok(vec![(prompt, completion, label)]),
            Self::Preference { prompt, chosen, rejected } => {
                Ok(vec![(prompt.clone(), chosen, true), (prompt, rejected, false)])
            }
            other => Err(other.not("a labelled completion")),
        }
    }

    /// Its parts, with the names of their columns.
    pub(super) fn parts(&mut self) -> Vec<(&'static str, &mut Content)> {
        match self {
            Self::Text(text) => vec![("messages", text)],
            Self::Prompt(prompt) => vec![("prompt", prompt)],
            Self::Completion { prompt, completion } | Self::Unpaired { prompt, completion, .. } => {
                vec![("prompt", prompt), ("completion", completion)]
            }
            Self::Preference { prompt, chosen, rejected } => {
                vec![("prompt", prompt), ("chosen", chosen), ("rejected", rejected)]
            }
        }
    }

    pub(super) fn not(&self, expected: &'static str) -> RecordError {
        RecordError::WrongKind { expected, found: self.kind() }
    }
}
