//! Conversations, turns and completions.
