use crate::{DataError, RecordError, TextTokenizer};
use std::ops::Range;

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

/// Tokens of a completion as they follow its prompt ([`TextTokenizer::encode_after`]), with one EOS
/// at the end. The prompt is empty for a text that follows nothing.
///
/// An EOS that the text already ends in is not doubled. `field` is the name that errors give.
///
/// # Errors
/// [`RecordError::EmptyText`], [`RecordError::Encode`].
pub fn encode_completion(
    tokenizer: &TextTokenizer,
    prompt: &str,
    (field, completion): (&'static str, &str),
) -> Result<Vec<u32>, RecordError> {
    let mut tokens = filled(field, tokenizer.encode_after(prompt, completion))?;
    let ends = |last: &u32| *last == tokenizer.eos_id() || tokenizer.eos_ids().contains(last);
    if !tokens.last().is_some_and(ends) {
        tokens.push(tokenizer.eos_id());
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
    filled(field, tokenizer.encode(text, false))
}

fn filled(
    field: &'static str,
    tokens: Result<Vec<u32>, DataError>,
) -> Result<Vec<u32>, RecordError> {
    match tokens {
        Ok(tokens) if tokens.is_empty() => Err(RecordError::EmptyText { field }),
        Ok(tokens) => Ok(tokens),
        Err(e) => Err(RecordError::Encode { field, message: e.to_string() }),
    }
}

impl TextTokenizer {
    /// Tokens of a text as they follow a prompt, without any that the tokenizer adds.
    ///
    /// The prompt keeps the tokens that are generated from. The rest of the tokens of both texts
    /// together are the text's, as TRL takes them. Where both together do not begin with the prompt's
    /// tokens, because a token straddles the border, the text is tokenised apart, as the middle of a
    /// text: a tokenizer that puts a space before every text puts none there. What is decoded from
    /// prompt and text is then still what both say.
    ///
    /// # Errors
    /// [`DataError::Text`].
    pub fn encode_after(&self, prompt: &str, text: &str) -> Result<Vec<u32>, DataError> {
        Ok(self.placed_after(prompt, text)?.into_iter().map(|(id, _)| id).collect())
    }

    /// Those tokens, each with its bytes of prompt and text together.
    pub(crate) fn placed_after(
        &self,
        prompt: &str,
        text: &str,
    ) -> Result<Vec<(u32, Range<usize>)>, DataError> {
        let tokens = self.continued(prompt, text)?;
        self.check_rows(tokens.iter().map(|(id, _)| *id))?;
        Ok(tokens)
    }

    fn continued(&self, prompt: &str, text: &str) -> Result<Vec<(u32, Range<usize>)>, DataError> {
        let together = placed(self.inner(), &[prompt, text].concat(), 0)?;
        let before = placed(self.inner(), prompt, 0)?;
        let ids = |tokens: &[(u32, _)]| tokens.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        if ids(&together).starts_with(&ids(&before)) {
            return Ok(together.into_iter().skip(before.len()).collect());
        }
        let Some(continuing) = self.continuing() else {
            return placed(self.inner(), text, prompt.len());
        };
        // Behind a special token a new section begins, which has its space again.
        let mut tokens = placed(continuing, text, prompt.len())?;
        let added = self.inner().get_added_tokens_decoder();
        // Spelt, that is: a byte that no word has may have the same token.
        let spelt = |(id, at): &(u32, Range<usize>)| {
            let said = text.get(at.start - prompt.len()..at.end - prompt.len());
            added.get(id).is_some_and(|token| said.is_some_and(|s| s.contains(&token.content)))
        };
        if let Some(first) = tokens.iter().position(spelt) {
            let at = tokens[first].1.start;
            tokens.truncate(first);
            tokens.extend(placed(self.inner(), &text[at - prompt.len()..], at)?);
        }
        Ok(tokens)
    }
}

/// Tokens with the bytes that they come from, counted from `offset`.
fn placed(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    offset: usize,
) -> Result<Vec<(u32, Range<usize>)>, DataError> {
    let encoding =
        tokenizer.encode(text, false).map_err(|e| DataError::Text { message: e.to_string() })?;
    let places = encoding.get_offsets().iter().map(|(from, to)| from + offset..to + offset);
    Ok(encoding.get_ids().iter().copied().zip(places).collect())
}
