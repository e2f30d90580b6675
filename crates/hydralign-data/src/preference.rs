use hydralign_core::Sequence;

/// Two completions of the same prompt, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferencePair {
    /// The prompt with the completion that was preferred.
    pub chosen: Sequence,
    /// The same prompt with the one that was not.
    pub rejected: Sequence,
}
