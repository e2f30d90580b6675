use crate::{
    DataError, DemonstrationRecord, JsonlReader, Located, PromptRecord, Record, RecordError,
    TextTokenizer,
};
use hydralign_core::Sequence;
use std::path::Path;

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
    let tokens = tokenizer.begin(encode(tokenizer, "prompt", prompt)?);
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
    let mut tokens = encode(tokenizer, field, completion)?;
    let ends = tokens.last().is_some_and(|last| tokenizer.eos_ids().contains(last));
    if !ends {
        tokens.extend(tokenizer.eos_ids().first());
    }
    Ok(tokens)
}

/// A prompt with a completion that fits the context beside it.
pub(crate) fn sequence(
    tokenizer: &TextTokenizer,
    prompt: &[u32],
    (field, completion): (&'static str, &str),
    context: usize,
) -> Result<Sequence, RecordError> {
    let response = encode_completion(tokenizer, field, completion)?;
    let tokens = prompt.len() + response.len();
    if tokens > context {
        return Err(RecordError::TooLong { field, tokens, context });
    }
    Ok(Sequence { prompt: prompt.to_vec(), response })
}

/// The tokens of a text that has some, without any that the tokenizer adds: a BOS alone is no
/// prompt.
fn encode(
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

/// Reads every record of a file and turns it into tokens.
pub(crate) fn read_with<T: Record, U>(
    path: &Path,
    tokens: impl Fn(T) -> Result<U, RecordError>,
) -> Result<Vec<U>, DataError> {
    JsonlReader::open(path)?
        .map(|located| {
            let Located { line, record } = located?;
            tokens(record).map_err(|fault| DataError::Record { path: path.to_owned(), line, fault })
        })
        .collect()
}

/// Prompts of a JSON Lines file of [`PromptRecord`]s, as tokens.
///
/// # Errors
/// Those of [`JsonlReader`], and [`DataError::Record`] as [`encode_prompt`].
pub fn read_prompts(
    path: impl AsRef<Path>,
    tokenizer: &TextTokenizer,
    context: usize,
) -> Result<Vec<Vec<u32>>, DataError> {
    read_with(path.as_ref(), |r: PromptRecord| encode_prompt(tokenizer, &r.prompt, context))
}

/// Sequences of a JSON Lines file of [`DemonstrationRecord`]s, as tokens.
///
/// # Errors
/// Those of [`JsonlReader`], and [`DataError::Record`] as [`encode_prompt`] and
/// [`encode_completion`] or with [`RecordError::TooLong`].
pub fn read_demonstrations(
    path: impl AsRef<Path>,
    tokenizer: &TextTokenizer,
    context: usize,
) -> Result<Vec<Sequence>, DataError> {
    read_with(path.as_ref(), |r: DemonstrationRecord| {
        let prompt = encode_prompt(tokenizer, &r.prompt, context)?;
        sequence(tokenizer, &prompt, ("completion", &r.completion), context)
    })
}
