//! Counter-based randomness: every draw is a function of (seed, stream, counter) and of
//! nothing else, so that neither batch composition nor order can change a sample.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014; variant 13 of Stafford's mixers).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// 64 random bits of a position in a stream.
pub fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    let key = mix(seed.wrapping_add(GAMMA)) ^ stream;
    mix(mix(key.wrapping_add(GAMMA)).wrapping_add(counter.wrapping_mul(GAMMA)))
}

/// Uniform in the open interval (0, 1): 53 bits and half a step, so that neither end occurs.
pub fn uniform(seed: u64, stream: u64, counter: u64) -> f64 {
    ((bits(seed, stream, counter) >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

/// A seed of its own for a named part of a run (FNV-1a of the name, mixed with the seed).
pub fn sub_seed(seed: u64, name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    bits(seed, hash, 0)
}

/// The order of `count` items, a permutation drawn by Fisher–Yates from a stream.
pub fn permutation(count: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let other = (uniform(seed, stream, last as u64) * (last + 1) as f64) as usize;
        order.swap(last, other.min(last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_and_streams_do_not_correlate() {
        let n = 100_000u64;
        let draws: Vec<f64> = (0..n).map(|i| uniform(7, 3, i)).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let var = draws.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.004, "mean {mean}");
        assert!((var - 1.0 / 12.0).abs() < 0.002, "variance {var}");
        for other in [uniform(7, 4, 0), uniform(8, 3, 0)] {
            assert_ne!(other, draws[0]);
        }
        let cross = |f: &dyn Fn(u64) -> f64| {
            (0..n).map(|i| (draws[i as usize] - 0.5) * (f(i) - 0.5)).sum::<f64>() / n as f64 * 12.0
        };
        assert!(cross(&|i| uniform(7, 4, i)).abs() < 0.02);
        assert!(cross(&|i| uniform(8, 3, i)).abs() < 0.02);
        assert!(cross(&|i| uniform(7, 3, i + 1)).abs() < 0.02);
    }

    #[test]
    fn buckets_pass_a_chi_square_test() {
        let (n, buckets) = (64_000u64, 64usize);
        let mut counts = vec![0f64; buckets];
        // Across streams at a fixed counter: the way one position of many episodes is drawn.
        (0..n).for_each(|s| counts[(uniform(1, s, 5) * buckets as f64) as usize] += 1.0);
        let expected = n as f64 / buckets as f64;
        let chi: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        assert!(chi < 103.4, "chi-square {chi} exceeds the 0.1 % point of 63 degrees of freedom");
    }

    #[test]
    fn a_permutation_holds_each_item_once() {
        let mut order = permutation(1000, 5, 0);
        assert_ne!(order, permutation(1000, 5, 1));
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| i == x));
        assert_eq!(permutation(0, 1, 1), Vec::<usize>::new());
    }

    #[test]
    fn named_seeds_differ() {
        assert_ne!(sub_seed(1, "sft"), sub_seed(1, "ppo"));
        assert_ne!(sub_seed(1, "sft"), sub_seed(2, "sft"));
    }
}
