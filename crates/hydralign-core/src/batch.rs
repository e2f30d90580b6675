use crate::{CoreError, Episode};

/// A prompt and a response, both without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Prompt tokens; at least one, for a response is predicted from something.
    pub prompt: Vec<u32>,
    /// Response tokens; at least one.
    pub response: Vec<u32>,
    /// Which response tokens the model itself says; none if all are its own. A response of several
    /// turns has those of others in it: they are read, and neither predicted nor learnt.
    pub response_mask: Option<Vec<bool>>,
}

impl Sequence {
    /// A prompt and its response, every token of which is the model's own.
    pub fn new(prompt: Vec<u32>, response: Vec<u32>) -> Self {
        Self { prompt, response, response_mask: None }
    }

    /// The same sequence with a mask of the response tokens that are the model's own.
    pub fn with_response_mask(self, mask: Vec<bool>) -> Self {
        Self { response_mask: Some(mask), ..self }
    }

    /// Response tokens that the mask keeps: the length of what is read of them.
    pub fn response_tokens(&self) -> usize {
        self.kept(0..self.response.len()).count()
    }

    /// Cuts the response, and its mask, to its first tokens.
    pub fn truncate_response(&mut self, tokens: usize) {
        self.response.truncate(tokens);
        if let Some(mask) = &mut self.response_mask {
            mask.truncate(tokens);
        }
    }

    /// Those of some things, one for each response token, that the mask keeps.
    fn kept<T>(&self, each: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let keeps =
            |i: usize| self.response_mask.as_ref().is_none_or(|mask| mask.get(i) == Some(&true));
        each.into_iter().enumerate().filter(move |(i, _)| keeps(*i)).map(|(_, thing)| thing)
    }

    /// Tokens of prompt and response together.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }

    /// True if there is neither prompt nor response.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&Episode> for Sequence {
    fn from(episode: &Episode) -> Self {
        Self::new(episode.prompt.clone(), episode.response.clone())
    }
}

/// Sequences that one model call reads together.
///
/// Padding happens inside the model step and nowhere else: on the right, where a causal model
/// cannot see it, and by position, so that the pad token may equal any real token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBatch {
    sequences: Vec<Sequence>,
    temperature: f32,
}

impl TokenBatch {
    /// A batch of at least one sequence, read at temperature 1.
    ///
    /// # Errors
    /// [`CoreError::EmptyBatch`], [`CoreError::EmptyPrompt`], [`CoreError::EmptyResponse`],
    /// [`CoreError::ResponseMask`] for a mask of another length, or one that keeps nothing.
    pub fn new(sequences: Vec<Sequence>) -> Result<Self, CoreError> {
        if sequences.is_empty() {
            return Err(CoreError::EmptyBatch);
        }
        for (row, s) in sequences.iter().enumerate() {
            if s.prompt.is_empty() {
                return Err(CoreError::EmptyPrompt { row });
            }
            if s.response.is_empty() {
                return Err(CoreError::EmptyResponse { row });
            }
            if let Some(mask) = &s.response_mask
                && (mask.len() != s.response.len() || !mask.contains(&true))
            {
                let (response, kept) = (s.response.len(), mask.iter().filter(|&&k| k).count());
                return Err(CoreError::ResponseMask { row, response, mask: mask.len(), kept });
            }
        }
        Ok(Self { sequences, temperature: 1.0 })
    }

    /// A batch of whole texts, every token but the first of which is a response: what there is
    /// to predict. A text of one token has an empty response.
    ///
    /// # Errors
    /// [`CoreError::EmptyBatch`], [`CoreError::EmptyPrompt`] for a text without tokens.
    pub fn whole(texts: impl IntoIterator<Item = Vec<u32>>) -> Result<Self, CoreError> {
        let split = |(row, mut tokens): (usize, Vec<u32>)| {
            if tokens.is_empty() {
                return Err(CoreError::EmptyPrompt { row });
            }
            let response = tokens.split_off(1);
            Ok(Sequence::new(tokens, response))
        };
        let sequences = texts.into_iter().enumerate().map(split).collect::<Result<Vec<_>, _>>()?;
        match sequences.is_empty() {
            true => Err(CoreError::EmptyBatch),
            false => Ok(Self { sequences, temperature: 1.0 }),
        }
    }

    /// A batch of episodes.
    ///
    /// # Errors
    /// As [`TokenBatch::new`].
    pub fn from_episodes<'a>(
        episodes: impl IntoIterator<Item = &'a Episode>,
    ) -> Result<Self, CoreError> {
        Self::new(episodes.into_iter().map(Sequence::from).collect())
    }

    /// The same batch with log-probabilities and entropies read at a temperature:
    /// log softmax(logits / T).
    ///
    /// # Errors
    /// [`CoreError::Temperature`] unless T is finite and positive.
    pub fn at_temperature(mut self, temperature: f32) -> Result<Self, CoreError> {
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(CoreError::Temperature { temperature });
        }
        self.temperature = temperature;
        Ok(self)
    }

    /// The sequences, in row order.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// Temperature at which log-probabilities are read.
    pub fn temperature(&self) -> f32 {
        self.temperature
    }

    /// Number of sequences.
    pub fn rows(&self) -> usize {
        self.sequences.len()
    }

    /// Length of the longest sequence, prompt included.
    pub fn width(&self) -> usize {
        self.sequences.iter().map(Sequence::len).max().unwrap_or(0)
    }

    /// Response tokens of each row that its mask keeps.
    pub fn response_lengths(&self) -> Vec<usize> {
        self.sequences.iter().map(Sequence::response_tokens).collect()
    }

    /// Response tokens of all rows that their masks keep: the length of every packed reading.
    pub fn response_tokens(&self) -> usize {
        self.sequences.iter().map(Sequence::response_tokens).sum()
    }

    /// Row-major `[rows, width]` tokens, right-padded with 0.
    pub fn padded(&self) -> Vec<u32> {
        let width = self.width();
        let mut tokens = vec![0; self.rows() * width];
        for (row, s) in tokens.chunks_mut(width).zip(&self.sequences) {
            row[..s.prompt.len()].copy_from_slice(&s.prompt);
            row[s.prompt.len()..s.len()].copy_from_slice(&s.response);
        }
        tokens
    }

    /// Flat positions (row · width + column) whose hidden state predicts each response token
    /// that the masks keep: the position *before* it. Packed order.
    pub fn predictors(&self) -> Vec<usize> {
        let width = self.width();
        let mut positions = Vec::new();
        for (row, s) in self.sequences.iter().enumerate() {
            let first = row * width + s.prompt.len() - 1;
            positions.extend(s.kept(first..first + s.response.len()));
        }
        positions
    }

    /// Flat positions of these response tokens themselves. Packed order.
    pub fn response_positions(&self) -> Vec<usize> {
        self.predictors().into_iter().map(|position| position + 1).collect()
    }

    /// Flat position of the last real token of each row: where a score is read.
    pub fn last_positions(&self) -> Vec<usize> {
        let width = self.width();
        self.sequences.iter().enumerate().map(|(i, s)| i * width + s.len() - 1).collect()
    }

    /// These response tokens in packed order: the targets of the predictors.
    pub fn targets(&self) -> Vec<u32> {
        self.sequences.iter().flat_map(|s| s.kept(s.response.iter().copied())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(prompt: &[u32], response: &[u32]) -> Sequence {
        Sequence::new(prompt.to_vec(), response.to_vec())
    }

    #[test]
    fn positions_follow_the_real_tokens_even_where_they_equal_the_pad() {
        let batch = TokenBatch::new(vec![seq(&[5, 0], &[0, 7, 0]), seq(&[9], &[0])]).unwrap();
        assert_eq!(batch.padded(), [5, 0, 0, 7, 0, 9, 0, 0, 0, 0]);
        assert_eq!(batch.predictors(), [1, 2, 3, 5]);
        assert_eq!(batch.response_positions(), [2, 3, 4, 6]);
        assert_eq!(batch.targets(), [0, 7, 0, 0]);
        assert_eq!(batch.last_positions(), [4, 6]);
        assert_eq!(batch.response_tokens(), 4);
    }

    #[test]
    fn only_what_a_mask_keeps_is_read_and_the_rest_keeps_its_place() {
        let masked = seq(&[5, 6], &[1, 2, 3, 4]).with_response_mask(vec![true, false, false, true]);
        assert_eq!((masked.len(), masked.response_tokens()), (6, 2));
        let batch = TokenBatch::new(vec![masked.clone(), seq(&[9], &[8, 7])]).unwrap();
        assert_eq!(batch.padded(), [5, 6, 1, 2, 3, 4, 9, 8, 7, 0, 0, 0]);
        assert_eq!(batch.predictors(), [1, 4, 6, 7]);
        assert_eq!(batch.response_positions(), [2, 5, 7, 8]);
        assert_eq!(batch.targets(), [1, 4, 8, 7]);
        assert_eq!(batch.response_lengths(), [2, 2]);
        assert_eq!(batch.last_positions(), [5, 8]);
        let mut cut = masked;
        cut.truncate_response(3);
        assert_eq!((cut.response.len(), cut.response_tokens()), (3, 1));
    }

    #[test]
    fn a_mask_has_the_length_of_its_response_and_keeps_something() {
        for mask in [vec![true], vec![false, false]] {
            let rows = vec![seq(&[1], &[1, 2]).with_response_mask(mask)];
            assert!(matches!(
                TokenBatch::new(rows),
                Err(CoreError::ResponseMask { row: 0, response: 2, .. })
            ));
        }
    }

    #[test]
    fn empty_parts_are_refused_by_row() {
        assert!(matches!(TokenBatch::new(vec![]), Err(CoreError::EmptyBatch)));
        let rows = vec![seq(&[1], &[1]), seq(&[], &[1])];
        assert!(matches!(TokenBatch::new(rows), Err(CoreError::EmptyPrompt { row: 1 })));
        let rows = vec![seq(&[1], &[])];
        assert!(matches!(TokenBatch::new(rows), Err(CoreError::EmptyResponse { row: 0 })));
    }

    #[test]
    fn a_temperature_is_positive_and_finite() {
        let batch = TokenBatch::new(vec![seq(&[1], &[1])]).unwrap();
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(batch.clone().at_temperature(bad).is_err());
        }
    }
}
