//! Tokenizers, prompt and preference files, and the shipped task.
