use crate::{RecordError, TextTokenizer};

/// Tokens of a prompt, with what the tokenizer puts before a text.
///
/// # Errors
/// [`RecordError::EmptyText`], [`RecordError::PromptTooLong`] if no position of the context is
/// left for a response, [`RecordError::Encode`].
pub fn encode_prompt(
    tokenizer: &TextTokenizer,
    prompt: &str,
    context: usize,
) -> Result<Vec<u32>, RecordError> {
    let tokens = tokenizer.begin(encode_text(tokenizer, "prompt", prompt)?);
    if tokens.len() >= context {
        return Err(RecordError::PromptTooLong { tokens: tokens.len(), context });
    }
    Ok(tokens)
}

/// Tokens of a completion, with one EOS at the end.
///
/// A completion is tokenised apart from its prompt: tokenised together, a token may straddle
/// the boundary, and the prompt that is learnt from is then not the prompt that is generated
/// from. An EOS that the text already ends in is not doubled. `field` is the name that errors
/// give.
///
/// # Errors
/// [`RecordError::EmptyText`], [`RecordError::Encode`].
pub fn encode_completion(
    tokenizer: &TextTokenizer,
    field: &'static str,
    completion: &str,
) -> Result<Vec<u32>, RecordError> {
    let mut tokens = encode_text(tokenizer, field, completion)?;
    let ends = tokens.last().is_some_and(|last| tokenizer.eos_ids().contains(last));
    if !ends {
        tokens.extend(tokenizer.eos_ids().first());
    }
    Ok(tokens)
}

/// The tokens of a text that has some, without any that the tokenizer adds: a BOS alone is no
/// prompt.
pub(crate) fn encode_text(
    tokenizer: &TextTokenizer,
    field: &'static str,
    text: &str,
) -> Result<Vec<u32>, RecordError> {
    let tokens = tokenizer.encode(text, false);
    let tokens = tokens.map_err(|e| RecordError::Encode { field, message: e.to_string() })?;
    if tokens.is_empty() {
        return Err(RecordError::EmptyText { field });
    }
    Ok(tokens)
}
