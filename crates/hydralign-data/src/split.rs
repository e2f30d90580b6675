use crate::{CounterRng, DataError};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Indices of a data set, divided. Each index is in exactly one part, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What is learnt from.
    pub train: Vec<usize>,
    /// What is only measured on.
    pub held_out: Vec<usize>,
}

/// Divides `0..count`, with `held_out` random indices held out.
///
/// # Errors
/// [`DataError::Split`] unless both parts have at least one.
pub fn split(count: usize, held_out: usize, seed: u64) -> Result<Split, DataError> {
    split_by_key(&(0..count).collect::<Vec<_>>(), held_out, seed)
}

/// Divides records so that those with the same key stay together: `held_out` random *keys*
/// are held out, with all their records.
///
/// The key is usually the prompt. Preference files repeat prompts, and a held-out prompt that
/// is also trained on measures memory instead of skill.
///
/// # Errors
/// [`DataError::Split`] unless both parts have at least one key.
pub fn split_by_key<K: Eq + Hash>(
    keys: &[K],
    held_out: usize,
    seed: u64,
) -> Result<Split, DataError> {
    let mut groups = HashMap::new();
    let group_of: Vec<usize> = keys
        .iter()
        .map(|key| {
            let next = groups.len();
            *groups.entry(key).or_insert(next)
        })
        .collect();
    let count = groups.len();
    if held_out == 0 || held_out >= count {
        return Err(DataError::Split { count, held_out });
    }
    let mut order: Vec<usize> = (0..count).collect();
    CounterRng::new(seed).shuffle(&mut order);
    let out: HashSet<usize> = order[..held_out].iter().copied().collect();
    let (held_out, train) = (0..keys.len()).partition(|&i| out.contains(&group_of[i]));
    Ok(Split { train, held_out })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_split_is_a_partition_of_the_asked_size(
            count in 2_usize..60, share in 0.0..1.0_f64, seed: u64,
        ) {
            let held_out = 1 + (share * (count - 1) as f64) as usize % (count - 1);
            let parts = split(count, held_out, seed).unwrap();
            prop_assert_eq!(parts.held_out.len(), held_out);
            let mut all = [parts.train, parts.held_out].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn records_with_the_same_key_stay_together(
            keys in prop::collection::vec(0_u8..9, 2..80), seed: u64,
        ) {
            prop_assume!(keys.iter().collect::<HashSet<_>>().len() > 3);
            let parts = split_by_key(&keys, 2, seed).unwrap();
            let of = |part: &[usize]| part.iter().map(|&i| keys[i]).collect::<HashSet<_>>();
            prop_assert!(of(&parts.train).is_disjoint(&of(&parts.held_out)));
            prop_assert_eq!(of(&parts.held_out).len(), 2);
            prop_assert_eq!(parts.train.len() + parts.held_out.len(), keys.len());
        }
    }

    #[test]
    fn a_split_depends_on_its_seed_alone() {
        assert_eq!(split(50, 10, 1).unwrap(), split(50, 10, 1).unwrap());
        assert_ne!(split(50, 10, 1).unwrap(), split(50, 10, 2).unwrap());
    }

    #[test]
    fn impossible_divisions_are_refused() {
        for (count, held_out) in [(0, 0), (5, 0), (5, 5), (5, 6)] {
            let e = split(count, held_out, 0).unwrap_err();
            assert!(
                matches!(e, DataError::Split { count: c, held_out: h } if (c, h) == (count, held_out))
            );
        }
    }
}
