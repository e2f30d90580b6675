//! Truncations of a distribution, with the rules of transformers'
//! `generation/logits_process.py` at `min_tokens_to_keep = 1`.

use crate::softmax::total;

/// Sets all but the k largest scores to −∞. Ties with the k-th are kept: more than k may remain.
pub(crate) fn top_k(scores: &mut [f32], k: usize) {
    if k >= scores.len() {
        return;
    }
    let mut copy = scores.to_vec();
    let (_, kth, _) = copy.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let kth = *kth;
    scores.iter_mut().filter(|s| **s < kth).for_each(|s| *s = f32::NEG_INFINITY);
}

/// Zeroes all weights outside the smallest set of heaviest tokens whose share reaches p: a token
/// is kept iff the share of those before it is below p. Of equal weights the lowest ids stay;
/// transformers leaves that to `torch.sort`, which is not stable.
///
/// Not a sort: the boundary is found by halving, in linear time.
pub(crate) fn top_p(weights: &mut [f32], p: f32) {
    // Bits of a non-negative float order like the float: the key sorts by weight, then by id,
    // whose bits are flipped so that the lower id is the larger key.
    let key = |(id, w): (usize, &f32)| u64::from(w.to_bits()) << 32 | u64::from(!(id as u32));
    let mut keys: Vec<u64> =
        weights.iter().enumerate().filter(|(_, w)| **w > 0.0).map(key).collect();
    let mass = |keys: &[u64]| -> f64 {
        keys.iter().map(|k| f64::from(f32::from_bits((k >> 32) as u32))).sum()
    };
    // What lies above `open` is kept and is not enough by `missing` > 0; what lies below is dropped.
    let mut open = keys.as_mut_slice();
    let mut missing = f64::from(p) * total(weights);
    while open.len() > 1 {
        let middle = open.len() / 2;
        open.select_nth_unstable(middle);
        let (light, heavy) = open.split_at_mut(middle);
        let heavy_mass = mass(heavy);
        if heavy_mass >= missing {
            light.iter().for_each(|k| weights[!(*k as u32) as usize] = 0.0);
            open = heavy;
        } else {
            missing -= heavy_mass;
            open = light;
        }
    }
}

/// Zeroes all weights below p times the largest.
pub(crate) fn min_p(weights: &mut [f32], p: f32) {
    let floor = p * crate::softmax::maximum(weights);
    weights.iter_mut().filter(|w| **w < floor).for_each(|w| *w = 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_at_the_kth_score_are_kept() {
        let mut scores = [1.0, 3.0, 2.0, 2.0, 0.0];
        top_k(&mut scores, 2);
        assert_eq!(scores, [f32::NEG_INFINITY, 3.0, 2.0, 2.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn the_token_that_crosses_is_kept_and_one_at_equality_is_enough() {
        for (p, kept) in [(0.49, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.88, 4)] {
            let mut weights = [4.0, 1.0, 2.0, 1.0];
            top_p(&mut weights, p);
            assert_eq!(weights.iter().filter(|w| **w > 0.0).count(), kept, "p {p}");
        }
    }

    #[test]
    fn a_share_of_exactly_p_of_the_largest_stays() {
        let mut weights = [1.0, 0.5, 0.499];
        min_p(&mut weights, 0.5);
        assert_eq!(weights, [1.0, 0.5, 0.0]);
    }

    proptest! {
        // The definition, token by token, against the halving search.
        #[test]
        fn the_set_of_top_p_is_the_smallest(
            weights in proptest::collection::vec(prop_oneof![Just(0.0f32), Just(1.0), 0.01f32..4.0], 1..60),
            p in 0.01f32..0.999,
        ) {
            prop_assume!(weights.iter().any(|w| *w > 0.0));
            let mut cut = weights.clone();
            top_p(&mut cut, p);
            let all: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            for (i, &w) in weights.iter().enumerate() {
                let before: f64 = weights
                    .iter()
                    .enumerate()
                    .filter(|&(j, &v)| v > w || (v == w && j < i))
                    .map(|(_, &v)| f64::from(v))
                    .sum();
                let distance = before - f64::from(p) * all;
                if distance.abs() > 1e-9 && w > 0.0 {
                    prop_assert_eq!(cut[i] > 0.0, distance < 0.0, "token {}", i);
                }
            }
            prop_assert!(cut.iter().any(|w| *w > 0.0));
        }
    }
}
