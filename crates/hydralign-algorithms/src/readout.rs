use hydralign_core::{CoreError, Reading, Request, Roles, Sequence, TokenBatch};
use std::collections::BTreeMap;

/// Readings of many sequences on the host, without a graph: one vector per sequence, of one
/// number per response token that its mask keeps (one number in all for a score).
#[derive(Clone, Debug, Default)]
pub struct Readout(BTreeMap<Reading, Vec<Vec<f32>>>);

impl Readout {
    /// Reads sequences, `rows` at a time. Neighbours in length are read together, so that there
    /// is little padding; the results are in the order of the sequences.
    ///
    /// # Errors
    /// What reading reports.
    pub fn of<M: Roles + ?Sized>(
        model: &M,
        sequences: &[Sequence],
        readings: &[Reading],
        temperature: f32,
        rows: usize,
    ) -> Result<Self, CoreError> {
        let requests: Vec<Request> = readings.iter().copied().map(Request::constant).collect();
        let empty = || vec![Vec::new(); sequences.len()];
        let mut all: BTreeMap<_, _> = readings.iter().map(|&r| (r, empty())).collect();
        for part in by_length(sequences).chunks(rows.max(1)) {
            let batch = TokenBatch::new(part.iter().map(|&i| sequences[i].clone()).collect())?;
            let outputs = model.read(&requests, &batch.at_temperature(temperature)?)?;
            for (&reading, rows) in &mut all {
                let mut packed = outputs.to_vec(reading)?.into_iter();
                for &i in part {
                    let scalar = matches!(reading, Reading::Score(_));
                    let n = if scalar { 1 } else { sequences[i].response_tokens() };
                    rows[i] = packed.by_ref().take(n).collect();
                }
            }
        }
        Ok(Self(all))
    }

    /// One vector per sequence.
    ///
    /// # Errors
    /// [`CoreError::MissingReading`] if it was not asked for.
    pub fn get(&self, reading: Reading) -> Result<&[Vec<f32>], CoreError> {
        self.0.get(&reading).map(Vec::as_slice).ok_or(CoreError::MissingReading { reading })
    }

    /// Takes a reading out.
    ///
    /// # Errors
    /// [`CoreError::MissingReading`] if it was not asked for.
    pub fn take(&mut self, reading: Reading) -> Result<Vec<Vec<f32>>, CoreError> {
        self.0.remove(&reading).ok_or(CoreError::MissingReading { reading })
    }

    /// The sum over each sequence's tokens, in f64.
    ///
    /// # Errors
    /// As [`Readout::get`].
    pub fn sums(&self, reading: Reading) -> Result<Vec<f64>, CoreError> {
        let sum = |row: &Vec<f32>| row.iter().map(|&v| f64::from(v)).sum();
        Ok(self.get(reading)?.iter().map(sum).collect())
    }
}

/// Indices by falling length: what needs most memory comes first.
fn by_length(sequences: &[Sequence]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(sequences[i].len()));
    order
}
