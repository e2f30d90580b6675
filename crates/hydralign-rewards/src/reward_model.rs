use crate::each::all_finite;
use crate::{RewardError, Translation};
use hydralign_core::{CoreError, Episode, Reading, Request, Reward, Role, Roles, TokenBatch};

/// A learned reward: the scalar head of a model at the last token of what the model reads in its own
/// tokens.
///
/// Source of where the score is read: transformers' `…ForSequenceClassification`, the last token that is
/// not the padding of its `config.json`. Where that is the EOS too, an EOS at the end is never read.
#[derive(Clone, Debug)]
pub struct RewardModel<'a, M> {
    model: M,
    translation: &'a Translation,
    rows: usize,
    padding: Option<u32>,
}

impl<'a, M: Roles> RewardModel<'a, M> {
    /// Scores by the model's [`Role::Reward`], `rows` episodes at a time.
    pub fn new(model: M, translation: &'a Translation, rows: usize) -> Self {
        Self { model, translation, rows, padding: None }
    }

    /// The token that the model takes for padding ([`unpadded`]): `pad_token_id` of its `config.json`.
    #[must_use]
    pub fn with_padding(mut self, padding: Option<u32>) -> Self {
        self.padding = padding;
        self
    }

    fn row(&self, episode: &Episode) -> Result<Vec<u32>, RewardError> {
        let mut tokens = self.translation.tokens(episode)?;
        tokens.truncate(unpadded(&tokens, self.padding).len());
        Ok(tokens)
    }

    /// The scores of some rows, in their order.
    fn read(&self, part: &[usize], rows: &[Vec<u32>]) -> Result<Vec<f32>, CoreError> {
        let reading = Reading::Score(Role::Reward);
        let batch = TokenBatch::whole(part.iter().map(|&i| rows[i].clone()))?;
        let outputs = self.model.read(&[Request::constant(reading)], &batch);
        outputs.map_err(|e| of_episode(e, part))?.to_vec(reading)
    }
}

impl<M: Roles> Reward for RewardModel<'_, M> {
    /// # Errors
    /// [`RewardError::Episode`] around what [`Translation::tokens`] reports, what the model reports, and
    /// [`CoreError::ScoreNotFinite`].
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let mut rows = Vec::new();
        for (episode, given) in episodes.iter().enumerate() {
            let row = self.row(given);
            rows.push(row.map_err(|e| RewardError::Episode { episode, error: Box::new(e) })?);
        }
        // Neighbours in length are read together, the longest first.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(rows[i].len()));
        let mut scores = vec![0.0; rows.len()];
        for part in order.chunks(self.rows.max(1)) {
            let read = self.read(part, &rows)?;
            part.iter().zip(read).for_each(|(&i, score)| scores[i] = score);
        }
        all_finite(&scores)?;
        Ok(scores)
    }
}

/// Tokens without padding behind them, at least one. Where the padding is the EOS too, no EOS is left.
pub fn unpadded(tokens: &[u32], padding: Option<u32>) -> &[u32] {
    let kept = tokens.iter().rposition(|&t| Some(t) != padding).unwrap_or(0);
    &tokens[..tokens.len().min(kept + 1)]
}

/// Names the episode instead of the row of a part.
fn of_episode(error: CoreError, part: &[usize]) -> CoreError {
    let of = |row: usize| part.get(row).copied().unwrap_or(row);
    match error {
        CoreError::ContextExceeded { row, needed, context } => {
            CoreError::ContextExceeded { row: of(row), needed, context }
        }
        CoreError::TokenOutOfRange { row, token, vocab } => {
            CoreError::TokenOutOfRange { row: of(row), token, vocab }
        }
        other => other,
    }
}
