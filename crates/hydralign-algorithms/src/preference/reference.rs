use super::Pair;
use crate::Readout;
use crate::rows::sum_row;
use hydralign_core::{CoreError, Fingerprint, Reading, Roles, Sequence};

/// log π_ref of each sequence, summed over its tokens: one sweep, after which the reference model is
/// no longer needed.
///
/// `reading` is how `model` is asked: as the reference of a bank, or as the actor of one that holds
/// nothing else. The sums are taken in f64 on the host, as they are when a
/// [`Preference`](super::Preference) reads its reference along.
///
/// # Errors
/// What reading reports.
pub fn reference_logprobs<M: Roles + ?Sized>(
    model: &M,
    reading: Reading,
    sequences: &[Sequence],
    rows: usize,
) -> Result<Vec<f32>, CoreError> {
    let read = Readout::of(model, sequences, &[reading], 1.0, rows)?;
    Ok(read.get(reading)?.iter().map(|row| sum_row(row)).collect())
}

/// The sequences of pairs in the order of [`with_reference`]: chosen and rejected, pair by pair.
pub fn sequences_of(pairs: &[Pair]) -> Vec<Sequence> {
    pairs.iter().flat_map(|p| [p.chosen.clone(), p.rejected.clone()]).collect()
}

/// A name that is the same exactly if the sequences are, in their order: with the fingerprint of the
/// reference's checkpoint, adapter included, the key under which its log-probabilities may be kept.
pub fn sequences_fingerprint(sequences: &[Sequence]) -> String {
    let mut fingerprint = Fingerprint::new("hydralign sequences");
    for sequence in sequences {
        fingerprint.tokens(&sequence.prompt);
        fingerprint.tokens(&sequence.response);
        if let Some(mask) = &sequence.response_mask {
            fingerprint.text("response mask");
            fingerprint.tokens(&mask.iter().map(|&kept| u32::from(kept)).collect::<Vec<_>>());
        }
    }
    fingerprint.finish()
}

/// The pairs with log π_ref of their [`sequences_of`].
///
/// # Errors
/// [`CoreError::ScoreCount`] for another number of values than two per pair.
pub fn with_reference(mut pairs: Vec<Pair>, values: &[f32]) -> Result<Vec<Pair>, CoreError> {
    if values.len() != 2 * pairs.len() {
        return Err(CoreError::ScoreCount { expected: 2 * pairs.len(), got: values.len() });
    }
    for (pair, both) in pairs.iter_mut().zip(values.chunks(2)) {
        pair.reference = Some([both[0], both[1]]);
    }
    Ok(pairs)
}
