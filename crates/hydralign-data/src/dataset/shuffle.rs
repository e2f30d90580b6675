use crate::CounterRng;

/// Shuffles a stream with a buffer of so many items: each new item takes the place of a random
/// one, which comes out; what is left at the end comes out in random order. (`datasets`,
/// `IterableDataset.shuffle`.)
///
/// The order depends on the items and the seed alone. To go on where a run stopped, build it
/// again from the start of the stream and skip what came out.
#[derive(Debug)]
pub struct ShuffleBuffer<I: Iterator> {
    source: I,
    buffer: Vec<I::Item>,
    size: usize,
    rng: CounterRng,
}

impl<I: Iterator> ShuffleBuffer<I> {
    /// A shuffled stream; another `epoch` gives another order. A buffer of one item or none
    /// leaves the order as it is.
    pub fn new(source: I, size: usize, seed: u64, epoch: u64) -> Self {
        let rng = CounterRng::stream(seed, epoch);
        Self { source, buffer: Vec::new(), size: size.max(1), rng }
    }
}

impl<I: Iterator> Iterator for ShuffleBuffer<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        for item in self.source.by_ref() {
            if self.buffer.len() + 1 < self.size {
                self.buffer.push(item);
                continue;
            }
            let place = self.rng.below(self.buffer.len() + 1);
            return Some(match self.buffer.get_mut(place) {
                Some(slot) => std::mem::replace(slot, item),
                None => item,
            });
        }
        match self.buffer.len() {
            0 => None,
            n => Some(self.buffer.swap_remove(self.rng.below(n))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(count: usize, size: usize, seed: u64, epoch: u64) -> Vec<usize> {
        ShuffleBuffer::new(0..count, size, seed, epoch).collect()
    }

    proptest! {
        #[test]
        fn every_item_comes_out_once_and_not_too_early(
            count in 0_usize..200, size in 0_usize..60, seed: u64,
        ) {
            let got = order(count, size, seed, 0);
            // An item cannot overtake more than the buffer holds.
            for (place, item) in got.iter().enumerate() {
                prop_assert!(*item < place + size.max(1));
            }
            let mut sorted = got.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            prop_assert_eq!(got, order(count, size, seed, 0));
        }

        #[test]
        fn a_stream_that_is_taken_up_again_goes_on_as_it_would_have(
            count in 1_usize..100, seed: u64, share in 0.0..1.0_f64,
        ) {
            let stopped = (share * count as f64) as usize;
            let again: Vec<usize> =
                ShuffleBuffer::new(0..count, 16, seed, 3).skip(stopped).collect();
            prop_assert_eq!(&order(count, 16, seed, 3)[stopped..], &again[..]);
        }
    }

    #[test]
    fn epochs_differ_and_a_full_buffer_mixes_the_ends() {
        assert_ne!(order(50, 50, 1, 0), order(50, 50, 1, 1));
        let late = (0..200).filter(|&seed| order(40, 40, seed, 0)[0] >= 20).count();
        assert!((60..140).contains(&late), "{late} of 200 began with the second half");
    }
}
