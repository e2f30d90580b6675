use crate::{CounterRng, DataError};
use std::collections::BTreeMap;

/// Groups of sequences, by index, and how much of what they occupy is padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// The groups. Each index is in exactly one.
    pub groups: Vec<Vec<usize>>,
    /// Share of the places that no token takes.
    pub padding: f64,
}

/// Packs sequences into rows of at most `budget` tokens, one behind the other: the fullest row
/// that still has room takes the next longest (best fit decreasing).
///
/// # Errors
/// [`DataError::Budget`] for a sequence that is longer than a row.
pub fn pack(lengths: &[usize], budget: usize) -> Result<Bins, DataError> {
    let order = by_length(lengths, budget)?;
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // Rows by the room that they have left.
    let mut rooms: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in order.into_iter().rev() {
        let length = lengths[index];
        let fullest = rooms.range(length..).next().map(|(&room, _)| room);
        let (group, room) = match fullest.and_then(|room| Some((take(&mut rooms, room)?, room))) {
            Some(found) => found,
            None => {
                groups.push(Vec::new());
                (groups.len() - 1, budget)
            }
        };
        groups[group].push(index);
        rooms.entry(room - length).or_default().push(group);
    }
    let places = groups.len() * budget;
    Ok(Bins { padding: share_of_padding(lengths, places), groups })
}

fn take(rooms: &mut BTreeMap<usize, Vec<usize>>, room: usize) -> Option<usize> {
    let groups = rooms.get_mut(&room)?;
    let group = groups.pop();
    if groups.is_empty() {
        rooms.remove(&room);
    }
    group
}

/// Batches of sequences of like length whose padded rectangle, rows × longest, has at most
/// `budget` places. The order of the batches is random by the seed, so that a run does not go
/// from short to long.
///
/// # Errors
/// [`DataError::Budget`] for a sequence that is longer than the budget.
pub fn length_buckets(lengths: &[usize], budget: usize, seed: u64) -> Result<Bins, DataError> {
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    let mut places = 0;
    for index in by_length(lengths, budget)? {
        // In ascending order the newest is the longest.
        if (group.len() + 1) * lengths[index] > budget && !group.is_empty() {
            places += area(&group, lengths);
            groups.push(std::mem::take(&mut group));
        }
        group.push(index);
    }
    if !group.is_empty() {
        places += area(&group, lengths);
        groups.push(group);
    }
    CounterRng::new(seed).shuffle(&mut groups);
    Ok(Bins { padding: share_of_padding(lengths, places), groups })
}

fn area(group: &[usize], lengths: &[usize]) -> usize {
    group.len() * group.iter().map(|&i| lengths[i]).max().unwrap_or(0)
}

/// Indices in ascending order of length, ties in their order.
fn by_length(lengths: &[usize], budget: usize) -> Result<Vec<usize>, DataError> {
    if let Some(index) = lengths.iter().position(|&n| n > budget || n == 0) {
        return Err(DataError::Budget { index, tokens: lengths[index], budget });
    }
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| lengths[i]);
    Ok(order)
}

fn share_of_padding(lengths: &[usize], places: usize) -> f64 {
    let tokens: usize = lengths.iter().sum();
    if places == 0 { 0.0 } else { 1.0 - tokens as f64 / places as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_partition(bins: &Bins, count: usize) {
        let mut all: Vec<usize> = bins.groups.concat();
        all.sort_unstable();
        assert_eq!(all, (0..count).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn packing_is_a_partition_within_the_budget(
            lengths in prop::collection::vec(1_usize..40, 0..200),
        ) {
            let bins = pack(&lengths, 40).unwrap();
            assert_partition(&bins, lengths.len());
            let sums = bins.groups.iter().map(|g| g.iter().map(|&i| lengths[i]).sum::<usize>());
            let sums: Vec<usize> = sums.collect();
            prop_assert!(sums.iter().all(|&s| s <= 40));
            // Never more than one row is half empty, or two would have become one.
            prop_assert!(sums.iter().filter(|&&s| s <= 20).count() <= 1);
        }

        #[test]
        fn buckets_are_a_partition_within_the_budget(
            lengths in prop::collection::vec(1_usize..40, 0..200), seed: u64,
        ) {
            let bins = length_buckets(&lengths, 120, seed).unwrap();
            assert_partition(&bins, lengths.len());
            for group in &bins.groups {
                prop_assert!(area(group, &lengths) <= 120);
            }
            prop_assert!((0.0..1.0).contains(&bins.padding));
        }
    }

    #[test]
    fn packing_fills_rows_and_buckets_waste_little() {
        let lengths: Vec<usize> = (0..1000).map(|i| 1 + (i * 37) % 64).collect();
        assert!(pack(&lengths, 64).unwrap().padding < 0.02);
        let bins = length_buckets(&lengths, 1024, 1).unwrap();
        assert!(bins.padding < 0.05, "{}", bins.padding);
        assert_ne!(bins.groups, length_buckets(&lengths, 1024, 2).unwrap().groups);
    }

    #[test]
    fn what_fits_nowhere_is_named() {
        let error = pack(&[3, 9], 8).unwrap_err();
        assert!(matches!(error, DataError::Budget { index: 1, tokens: 9, budget: 8 }));
        assert!(length_buckets(&[0], 8, 1).is_err());
        assert_eq!(pack(&[], 8).unwrap(), Bins { groups: vec![], padding: 0.0 });
    }
}
