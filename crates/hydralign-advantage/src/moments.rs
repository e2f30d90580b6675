use serde::{Deserialize, Serialize};

/// The divisor of a variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// n, as in lm-human-preferences (`tf.nn.moments`).
    #[default]
    Biased,
    /// n − 1, as in TRL, verl and torchtune.
    Unbiased,
}

/// Count, mean and Σ(x − mean)² of a stream of numbers, in one pass.
///
/// Statistics of ragged episodes are moments over all their tokens: each real token counts
/// once, and there is no padding to count. Serialisable, so that a resumed run goes on from
/// the same statistics.
///
/// Source: Welford 1962 for one number, Chan, Golub and LeVeque 1979 for merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// The moments of all numbers of all rows.
    pub fn of<E: AsRef<[f32]>>(rows: &[E]) -> Self {
        let mut moments = Self::default();
        rows.iter().flat_map(|row| row.as_ref()).for_each(|&x| moments.push(f64::from(x)));
        moments
    }

    /// Adds one number.
    pub fn push(&mut self, x: f64) {
        self.count += 1;
        let before = x - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (x - self.mean);
    }

    /// Adds what another stream has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.count += other.count;
        self.mean += distance * m / (n + m);
        self.squares += other.squares + distance * distance * n * m / (n + m);
    }

    /// How many numbers were seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; none if there were none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Their variance; none if there were too few for the divisor.
    pub fn variance(&self, variance: Variance) -> Option<f64> {
        let divisor = match variance {
            Variance::Biased => self.count,
            Variance::Unbiased => self.count.saturating_sub(1),
        };
        (divisor > 0).then(|| self.squares / divisor as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_parts_equals_seeing_the_whole(
            rows in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 0..9), 0..9),
        ) {
            let mut merged = Moments::default();
            for row in &rows {
                merged.merge(&Moments::of(&[row]));
            }
            let whole = Moments::of(&rows);
            prop_assert_eq!(merged.count(), whole.count());
            prop_assert_eq!(merged.mean().is_some(), whole.mean().is_some());
            if let (Some(a), Some(b)) = (merged.mean(), whole.mean()) {
                prop_assert!((a - b).abs() < 1e-9);
                let (a, b) = (merged.variance(Variance::Biased), whole.variance(Variance::Biased));
                prop_assert!((a.unwrap() - b.unwrap()).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_far_mean_does_not_swallow_the_spread() {
        // Σx² − (Σx)²/n loses the spread of numbers at 1e7 even in f64 sums of f32 squares.
        let moments = Moments::of(&[[1e7f32, 1e7 + 1.0, 1e7 + 2.0]]);
        assert_eq!(moments.mean(), Some(1e7 + 1.0));
        assert_eq!(moments.variance(Variance::Unbiased), Some(1.0));
    }

    #[test]
    fn too_few_numbers_have_no_moments() {
        assert_eq!(Moments::default().mean(), None);
        assert_eq!(Moments::default().variance(Variance::Unbiased), None);
        let one = Moments::of(&[[3.0]]);
        assert_eq!((one.mean(), one.variance(Variance::Biased)), (Some(3.0), Some(0.0)));
        assert_eq!(one.variance(Variance::Unbiased), None);
    }

    #[test]
    fn a_saved_stream_goes_on_where_it_stopped() {
        let mut whole = Moments::of(&[[1.0, 2.5, -3.0]]);
        let saved = serde_json::to_string(&whole).unwrap();
        let mut resumed: Moments = serde_json::from_str(&saved).unwrap();
        whole.push(0.1);
        resumed.push(0.1);
        assert_eq!(whole, resumed);
    }
}
