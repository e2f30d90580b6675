//! Counter-based randomness: every draw is a function of (seed, stream, counter) and of
//! nothing else, so that neither batch composition nor order can change a sample.
//!
//! This is the project's only source of random bits; the generators of other crates are
//! addresses into it. Enough for weights, shuffles and sampling; not for secrets.

/// The odd constant nearest to 2⁶⁴/φ, by which SplitMix64 advances.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Number `index` of the SplitMix64 sequence of a seed, counted from 1.
///
/// x_i = mix(seed + i·γ)
///
/// A bijection of 64-bit words for every index; number 0 is the finaliser `mix` alone.
///
/// Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", fig.
/// 17, with variant 13 of Stafford's mixers, as in Vigna's `splitmix64.c`.
pub fn splitmix64(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_mul(GAMMA));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// 64 random bits of a position in a stream.
pub fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    let key = splitmix64(seed, 1) ^ stream;
    splitmix64(splitmix64(key, 1), counter)
}

/// Uniform in the open interval (0, 1).
///
/// u = (⌊bits / 2¹¹⌋ + ½) / 2⁵³
pub fn uniform(seed: u64, stream: u64, counter: u64) -> f64 {
    open_unit(bits(seed, stream, counter))
}

/// The half keeps 0 out. Above ½ it rounds away, which would let the largest word reach 1.
fn open_unit(bits: u64) -> f64 {
    let u = ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    u.min(1.0 - f64::EPSILON / 2.0)
}

/// A seed of its own for a named part of a run, independent of all other parts.
///
/// Names may be paths (`"ppo/rollout/3"`), and sub-seeds may be divided further. The name
/// enters as its 64-bit FNV-1a hash (Fowler, Noll and Vo).
pub fn sub_seed(seed: u64, name: &str) -> u64 {
    bits(seed, fnv1a(name.as_bytes()), 0)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
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

/// Items number `first` to `first + taken` of a data set that is gone through again and again, in a new
/// order each time: every item comes once before any comes twice. Nothing of an empty one.
pub fn in_rounds(count: usize, seed: u64, first: usize, taken: usize) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let rounds = first / count..=(first + taken) / count;
    let items = rounds.flat_map(|round| permutation(count, seed, round as u64));
    items.skip(first % count).take(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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
    fn rounds_hold_each_item_once_and_follow_on() {
        let all = in_rounds(7, 3, 0, 21);
        for round in all.chunks(7) {
            assert_eq!(round.iter().collect::<HashSet<_>>().len(), 7);
        }
        assert_ne!(all[..7], all[7..14]);
        let parts: Vec<usize> = (0..7).flat_map(|i| in_rounds(7, 3, 3 * i, 3)).collect();
        assert_eq!(parts, all);
        assert_eq!(in_rounds(1, 0, 5, 3), [0, 0, 0]);
        assert_eq!(in_rounds(0, 0, 5, 3), Vec::<usize>::new());
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
    fn splitmix64_is_the_published_generator() {
        // Rosetta Code, "Pseudo-random numbers/Splitmix64": the first five outputs from seed
        // 1234567.
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (i, output) in (1..).zip(expected) {
            assert_eq!(splitmix64(1_234_567, i), output);
        }
    }

    #[test]
    fn fnv1a_is_the_published_hash() {
        // Test vectors of the FNV-1a reference code (IETF draft-eastlake-fnv, appendix).
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn neither_end_of_the_interval_occurs() {
        assert!(open_unit(0) > 0.0);
        assert!(open_unit(u64::MAX) < 1.0);
        assert!(open_unit(u64::MAX - (1 << 11)) < open_unit(u64::MAX));
    }

    #[test]
    fn named_seeds_differ() {
        let names = ["sft", "ppo", "ppo/rollout/1", "ppo/rollout/2", ""];
        let seeds: HashSet<u64> =
            (0..100).flat_map(|seed| names.map(|name| sub_seed(seed, name))).collect();
        assert_eq!(seeds.len(), 500);
        assert_ne!(sub_seed(sub_seed(1, "a"), "b"), sub_seed(sub_seed(1, "b"), "a"));
    }

    #[test]
    fn neighbouring_seeds_share_no_bits() {
        // 64 000 fair bits: 32 000 differ on average, with a standard deviation of 126.
        let differing: u32 = (0..1000_u64)
            .map(|seed| (sub_seed(seed, "ppo") ^ sub_seed(seed + 1, "ppo")).count_ones())
            .sum();
        assert!((31_000..33_000).contains(&differing), "{differing}");
    }
}
