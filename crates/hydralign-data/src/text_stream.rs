use crate::{DataError, TextTokenizer};

/// The text of tokens that come one by one, given out as soon as no later token can change it.
///
/// The pieces of a stream, put together, are [`TextTokenizer::decode`] of all its tokens. Held back are
/// replacement characters at the end, which may be the beginning of a character; byte tokens
/// (`<0xE4>`) at the end: the decoder replaces *all* bytes between two other tokens if one of them is
/// no part of a character; and a space among the last three characters, which cleaning up before
/// punctuation (` n't`) may take. Departure from the tokenizer library's `DecodeStream` and from vLLM, which
/// hold back the former only and whose text then lacks or keeps what the whole text does not.
///
/// Each token decodes the whole text anew, so that no decoder can tell the difference.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a TextTokenizer,
    skip_special: bool,
    tokens: Vec<u32>,
    given: String,
}

/// Characters of the longest mark whose space is cleaned up: ` n't`, ` 've`.
const CLEANED: usize = 4;

impl<'a> TextStream<'a> {
    /// A stream without special tokens if `skip_special`.
    pub fn new(tokenizer: &'a TextTokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, tokens: Vec::new(), given: String::new() }
    }

    /// The text that one more token completes; empty while it may still change.
    ///
    /// # Errors
    /// [`DataError::Text`].
    pub fn push(&mut self, token: u32) -> Result<String, DataError> {
        self.tokens.push(token);
        let settled = self.settled()?;
        let text = self.tokenizer.decode(&self.tokens[..settled], self.skip_special)?;
        let ready = text.trim_end_matches('\u{FFFD}');
        let tail = ready.char_indices().rev().take(CLEANED - 1).filter(|(_, c)| *c == ' ').last();
        let ready = tail.map_or(ready, |(space, _)| &ready[..space]);
        // A decoder that rewrites its own words is waited for; the end says whether it came back to them.
        let new = ready.strip_prefix(self.given.as_str()).unwrap_or_default().to_owned();
        self.given += &new;
        Ok(new)
    }

    /// The rest of the text.
    ///
    /// # Errors
    /// [`DataError::Text`]; [`DataError::TextChanged`] if the decoder has changed what was given out.
    pub fn finish(self) -> Result<String, DataError> {
        let text = self.tokenizer.decode(&self.tokens, self.skip_special)?;
        match text.strip_prefix(self.given.as_str()) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(DataError::TextChanged { given: self.given, text }),
        }
    }

    /// Tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many of the tokens come before the byte tokens at the end, if there are any. Tokens without
    /// text do not end a run of bytes.
    fn settled(&self) -> Result<usize, DataError> {
        let mut settled = self.tokens.len();
        for (i, &token) in self.tokens.iter().enumerate().rev() {
            if self.is_byte(token) {
                settled = i;
            } else if !self.tokenizer.decode(&[token], self.skip_special)?.is_empty() {
                break;
            }
        }
        Ok(settled)
    }

    fn is_byte(&self, token: u32) -> bool {
        let name = self.tokenizer.inner().id_to_token(token).unwrap_or_default();
        let digits = name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        digits.is_some_and(|d| d.len() == 2 && u8::from_str_radix(d, 16).is_ok())
    }
}
