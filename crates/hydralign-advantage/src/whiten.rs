use crate::{AdvantageError, Moments, Variance, check};

/// Added to variances under a root, so that equal numbers whiten to zero.
pub(crate) const EPSILON: f64 = 1e-8;

/// Whitens numbers over all tokens of all episodes of a batch, in place.
///
/// x ← (x − μ)/√(σ² + 10⁻⁸)            if `shift_mean`
/// x ← (x − μ)/√(σ² + 10⁻⁸) + μ        otherwise: the mean is *kept*
///
/// Returns the moments from before. Episodes may be `Vec<f32>`, `&mut Vec<f32>` or `&mut [f32]`.
///
/// # Errors
/// [`AdvantageError::TooFew`] if there are not enough tokens for the variance,
/// [`AdvantageError::NonFinite`] with the index within its episode. Nothing is changed then.
///
/// Source: lm-human-preferences `whiten`; Huang et al. 2024, "N+ implementation details". One μ
/// and one σ² for the batch, each token weighing the same.
pub fn whiten<E: AsRef<[f32]> + AsMut<[f32]>>(
    episodes: &mut [E],
    shift_mean: bool,
    variance: Variance,
) -> Result<Moments, AdvantageError> {
    for episode in episodes.iter() {
        check::finite("values to whiten", episode.as_ref())?;
    }
    let moments = Moments::of(episodes);
    let too_few = || AdvantageError::TooFew {
        what: "values to whiten",
        count: moments.count() as usize,
        needed: if variance == Variance::Biased { 1 } else { 2 },
    };
    let mean = moments.mean().ok_or_else(too_few)?;
    let scale = (moments.variance(variance).ok_or_else(too_few)? + EPSILON).sqrt().recip();
    let offset = if shift_mean { 0.0 } else { mean };
    for x in episodes.iter_mut().flat_map(|episode| episode.as_mut()) {
        *x = ((f64::from(*x) - mean) * scale + offset) as f32;
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch() -> impl Strategy<Value = Vec<Vec<f32>>> {
        prop::collection::vec(prop::collection::vec(-20f32..20.0, 1..8), 2..8)
            .prop_filter("some spread", |b| Moments::of(b).variance(Variance::Biased) > Some(1.0))
    }

    proptest! {
        #[test]
        fn the_result_has_the_promised_moments(batch in batch(), shift in any::<bool>(),
                                               unbiased in any::<bool>()) {
            let variance = if unbiased { Variance::Unbiased } else { Variance::Biased };
            let mut white = batch.clone();
            let before = whiten(&mut white, shift, variance).unwrap();
            let after = Moments::of(&white);
            let want = if shift { 0.0 } else { before.mean().unwrap() };
            prop_assert!((after.mean().unwrap() - want).abs() < 1e-5);
            prop_assert!((after.variance(variance).unwrap() - 1.0).abs() < 1e-5);
        }

        #[test]
        fn how_tokens_are_split_into_episodes_changes_nothing(batch in batch()) {
            let mut flat = vec![batch.concat()];
            let mut ragged = batch;
            whiten(&mut flat, true, Variance::Biased).unwrap();
            whiten(&mut ragged, true, Variance::Biased).unwrap();
            prop_assert_eq!(&flat[0], &ragged.concat());
        }
    }

    #[test]
    fn equal_numbers_become_zero_or_stay() {
        let mut equal = [vec![0.3f32; 3], vec![0.3; 2]];
        whiten(&mut equal, true, Variance::Unbiased).unwrap();
        assert!(equal.concat().iter().all(|x| x.abs() < 1e-6));
        let mut equal = [vec![0.3f32; 3]];
        whiten(&mut equal, false, Variance::Unbiased).unwrap();
        assert!(equal.concat().iter().all(|x| (x - 0.3).abs() < 1e-6));
    }

    #[test]
    fn too_few_tokens_and_bad_tokens_are_refused_and_left_alone() {
        let one = whiten(&mut [vec![1.0]], true, Variance::Unbiased).unwrap_err();
        assert!(matches!(one, AdvantageError::TooFew { count: 1, needed: 2, .. }));
        let none = whiten::<Vec<f32>>(&mut [], true, Variance::Biased).unwrap_err();
        assert!(matches!(none, AdvantageError::TooFew { count: 0, needed: 1, .. }));
        let mut bad = [vec![1.0], vec![2.0, f32::INFINITY]];
        let error = whiten(&mut bad, true, Variance::Biased).unwrap_err();
        assert!(matches!(error, AdvantageError::NonFinite { index: 1, .. }));
        assert_eq!(bad[0], [1.0]);
    }
}
