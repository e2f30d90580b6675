use crate::{CoreError, Episode};

/// A prompt and a response, both without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Prompt tokens; at least one, for a response is predicted from something.
    pub prompt: Vec<u32>,
    /// Response tokens; at least one.
    pub response: Vec<u32>,
}

impl Sequence {
    /// A prompt and its response.
    pub fn new(prompt: Vec<u32>, response: Vec<u32>) -> Self {
        Self { prompt, response }
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
    /// [`CoreError::EmptyBatch`], [`CoreError::EmptyPrompt`], [`CoreError::EmptyResponse`].
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

    /// Response tokens of each row.
    pub fn response_lengths(&self) -> Vec<usize> {
        self.sequences.iter().map(|s| s.response.len()).collect()
    }

    /// Response tokens of all rows: the length of every packed reading.
    pub fn response_tokens(&self) -> usize {
        self.sequences.iter().map(|s| s.response.len()).sum()
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

    /// Flat positions (row · width + column) whose hidden state predicts each response token:
    /// the position *before* it. Packed order.
    pub fn predictors(&self) -> Vec<usize> {
        let width = self.width();
        let row = |(i, s): (usize, &Sequence)| {
            let first = i * width + s.prompt.len() - 1;
            first..first + s.response.len()
        };
        self.sequences.iter().enumerate().flat_map(row).collect()
    }

    /// Flat positions of the response tokens themselves. Packed order.
    pub fn response_positions(&self) -> Vec<usize> {
        self.predictors().into_iter().map(|position| position + 1).collect()
    }

    /// Flat position of the last real token of each row: where a score is read.
    pub fn last_positions(&self) -> Vec<usize> {
        let width = self.width();
        self.sequences.iter().enumerate().map(|(i, s)| i * width + s.len() - 1).collect()
    }

    /// Response tokens in packed order: the targets of the predictors.
    pub fn targets(&self) -> Vec<u32> {
        self.sequences.iter().flat_map(|s| s.response.iter().copied()).collect()
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
