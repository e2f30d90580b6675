use hydralign_core::random::splitmix64;
use serde::{Deserialize, Serialize};

/// Random numbers one after another: number i is a hash of the seed and i.
///
/// x_i = [`splitmix64`]`(seed, i)`, i = 1, 2, …
///
/// It is two integers, so a checkpoint can hold it and a resumed run goes on exactly where it
/// stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterRng {
    seed: u64,
    counter: u64,
}

impl CounterRng {
    /// A generator at the start of its sequence.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// A generator whose sequence depends on the seed and a label, such as an epoch.
    pub fn stream(seed: u64, label: u64) -> Self {
        // The label is hashed before it meets the seed: seed + 1 with label 0 and seed with
        // label 1 must differ.
        Self::new(splitmix64(seed ^ splitmix64(label, 1), 0))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        splitmix64(self.seed, self.counter)
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (-53f64).exp2()
    }

    /// Uniform in 0..bound, and 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound < 2 {
            return 0;
        }
        let bound = bound as u64;
        // The last, incomplete run of `bound` numbers would favour small results.
        let usable = u64::MAX - (u64::MAX % bound + 1) % bound;
        loop {
            let bits = self.next_u64();
            if bits <= usable {
                return (bits % bound) as usize;
            }
        }
    }

    /// Puts a slice into a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_match_the_published_sequence() {
        // Rosetta Code, "Pseudo-random numbers/Splitmix64", seed 1234567.
        let mut rng = CounterRng::new(1_234_567);
        let first: [u64; 5] = std::array::from_fn(|_| rng.next_u64());
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, expected);
    }

    #[test]
    fn bounded_numbers_and_orders_are_uniform() {
        let mut rng = CounterRng::new(3);
        let mut orders = std::collections::BTreeMap::new();
        for _ in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            *orders.entry(items).or_insert(0_i64) += 1;
        }
        // 24 orders, 1000 each; χ² with 23 degrees of freedom exceeds 49.7 once in a thousand.
        assert_eq!(orders.len(), 24);
        let chi2: f64 = orders.values().map(|n| ((n - 1_000) as f64).powi(2) / 1_000.0).sum();
        assert!(chi2 < 49.7, "{chi2}");
    }

    #[test]
    fn uniform_numbers_fill_the_half_open_interval() {
        let mut rng = CounterRng::new(11);
        let draws: Vec<f64> = (0..20_000).map(|_| rng.uniform()).collect();
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        // Standard error 1/√(12·20000) = 0.002.
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_saved_generator_goes_on_where_it_stopped() {
        let mut rng = CounterRng::stream(5, 2);
        rng.next_u64();
        let saved = serde_json::to_string(&rng).unwrap();
        let mut resumed: CounterRng = serde_json::from_str(&saved).unwrap();
        assert_eq!(resumed.next_u64(), rng.next_u64());
    }

    #[test]
    fn streams_of_neighbouring_seeds_and_labels_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..32 {
            for label in 0..32 {
                assert!(seen.insert(CounterRng::stream(seed, label).next_u64()));
            }
        }
    }
}
