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
    let (group_of, distinct) = groups(keys);
    let count = distinct.len();
    if held_out == 0 || held_out >= count {
        return Err(DataError::Split { count, held_out });
    }
    let mut order: Vec<usize> = (0..count).collect();
    CounterRng::new(seed).shuffle(&mut order);
    Ok(divided(&group_of, &order[..held_out]))
}

/// Divides prompts as [`split_by_key`] does, with a share of them held out; those that are `elsewhere`
/// too, in what else is learnt from, are held out only where there are not enough others.
///
/// n = max(1, round(share · distinct keys)), and 0 for a share of 0 or less than three distinct keys: a
/// part of two prompts measures nothing and costs half of what there is to learn from.
///
/// # Errors
/// [`DataError::Share`] for a share that is not in [0, 1), or that leaves nothing to learn from.
pub fn hold_out<K: Eq + Hash>(
    keys: &[K],
    elsewhere: &HashSet<&K>,
    share: f64,
    seed: u64,
) -> Result<Split, DataError> {
    let (group_of, distinct) = groups(keys);
    let count = distinct.len();
    let held_out = match share == 0.0 || count < 3 {
        true => 0,
        false => ((share * count as f64).round() as usize).max(1),
    };
    if !(0.0..1.0).contains(&share) || held_out > 0 && held_out >= count {
        return Err(DataError::Share { share, count });
    }
    let mut order: Vec<usize> = (0..count).collect();
    CounterRng::new(seed).shuffle(&mut order);
    order.sort_by_key(|&i| elsewhere.contains(distinct[i]));
    Ok(divided(&group_of, &order[..held_out]))
}

/// The number of each record's key, and the keys.
fn groups<K: Eq + Hash>(keys: &[K]) -> (Vec<usize>, Vec<&K>) {
    let (mut numbers, mut distinct) = (HashMap::new(), Vec::new());
    let number = |key| {
        *numbers.entry(key).or_insert_with(|| {
            distinct.push(key);
            distinct.len() - 1
        })
    };
    (keys.iter().map(number).collect(), distinct)
}

fn divided(group_of: &[usize], held_out: &[usize]) -> Split {
    let out: HashSet<usize> = held_out.iter().copied().collect();
    let (held_out, train) = (0..group_of.len()).partition(|&i| out.contains(&group_of[i]));
    Split { train, held_out }
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

    proptest! {
        #[test]
        fn what_is_held_out_is_not_learnt_from(
            keys in prop::collection::vec(0_u8..30, 0..80), share in 0.0..0.6_f64, seed: u64,
        ) {
            let distinct = keys.iter().collect::<HashSet<_>>().len();
            let parts = hold_out(&keys, &HashSet::new(), share, seed).unwrap();
            let of = |part: &[usize]| part.iter().map(|&i| keys[i]).collect::<HashSet<_>>();
            let (train, held_out) = (of(&parts.train), of(&parts.held_out));
            prop_assert!(train.is_disjoint(&held_out));
            prop_assert_eq!(parts.train.len() + parts.held_out.len(), keys.len());
            prop_assert_eq!(held_out.is_empty(), distinct < 3 || share == 0.0);
            prop_assert!(!train.is_empty() || keys.is_empty());
        }
    }

    #[test]
    fn prompts_that_are_learnt_from_elsewhere_are_held_out_last() {
        let keys: Vec<u32> = (0..10).collect();
        let elsewhere: HashSet<&u32> = keys[..7].iter().collect();
        for seed in 0..20 {
            let few = hold_out(&keys, &elsewhere, 0.3, seed).unwrap();
            assert_eq!(few.held_out, [7, 8, 9]);
            let more = hold_out(&keys, &elsewhere, 0.5, seed).unwrap();
            assert!([7, 8, 9].iter().all(|i| more.held_out.contains(i)));
            assert_eq!(more.held_out.len(), 5);
        }
        // Which ones is drawn: the end of a file is no sample of it.
        let drawn = |seed| hold_out(&keys, &HashSet::new(), 0.3, seed).unwrap().held_out;
        assert!((0..20).any(|seed| drawn(seed) != [7, 8, 9]) && drawn(1) == drawn(1));
    }

    #[test]
    fn few_or_equal_prompts_and_no_share_hold_nothing_out() {
        for keys in [&[][..], &[1], &[1, 2], &[1, 1, 1, 1], &[1, 2, 1, 2, 1]] {
            let parts = hold_out(keys, &HashSet::new(), 0.5, 0).unwrap();
            assert_eq!((parts.train.len(), parts.held_out.len()), (keys.len(), 0));
        }
        assert_eq!(hold_out(&[1, 2, 3], &HashSet::new(), 0.0, 0).unwrap().train, [0, 1, 2]);
        for share in [-0.1, 1.0, 1.5, f64::NAN, 0.9] {
            assert!(matches!(
                hold_out(&[1, 2, 3], &HashSet::new(), share, 0),
                Err(DataError::Share { count: 3, .. })
            ));
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
