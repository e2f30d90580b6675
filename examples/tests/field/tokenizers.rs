//! Special tokens and tokenizers.
