use hydralign_core::random::splitmix64;
use serde::{Deserialize, Serialize};

/// Names the random numbers of one episode.
///
/// u(key, position) is a pure function: there is no generator whose state could depend on what
/// else is in the batch, on its order or on how often a run was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the episode within the run.
    pub episode: u64,
}

impl Key {
    /// The uniform number in the open interval (0, 1) of one position of the episode.
    ///
    /// u = (⌊h / 2¹²⌋ + ½) / 2⁵², h = mix(mix(mix(seed) + episode) + position)
    ///
    /// The half keeps 0 and 1 out; with 53 bits instead of 52 the largest value would round to 1.
    /// `mix` is the first output of [`splitmix64`]; the counters are absorbed word by word, so
    /// that neighbouring episodes and positions share no sequence.
    pub fn uniform(self, position: usize) -> f64 {
        let mix = |word| splitmix64(word, 1);
        let episode = mix(mix(self.seed).wrapping_add(self.episode));
        let bits = mix(episode.wrapping_add(position as u64)) >> 12;
        (bits as f64 + 0.5) / (1u64 << 52) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 20_240_917;

    fn draws(episodes: u64, positions: usize) -> Vec<f64> {
        (0..episodes)
            .flat_map(|episode| (0..positions).map(move |p| Key { seed: SEED, episode }.uniform(p)))
            .collect()
    }

    fn correlation(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
        let (mut n, mut dot) = (0.0, 0.0);
        for (a, b) in pairs {
            n += 1.0;
            dot += (a - 0.5) * (b - 0.5);
        }
        12.0 * dot / n
    }

    #[test]
    fn mean_and_variance_are_those_of_the_uniform_distribution() {
        let x = draws(2000, 100);
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n;
        // Four standard errors: 1/sqrt(12 n) and 1/sqrt(180 n).
        assert!((mean - 0.5).abs() < 4.0 / (12.0 * n).sqrt(), "mean {mean}");
        assert!((variance - 1.0 / 12.0).abs() < 4.0 / (180.0 * n).sqrt(), "variance {variance}");
        assert!(x.iter().all(|u| *u > 0.0 && *u < 1.0));
    }

    #[test]
    fn buckets_are_filled_evenly_over_episodes_positions_and_seeds() {
        let by_episode: Vec<_> = draws(100_000, 1);
        let by_position: Vec<_> = draws(1, 100_000);
        let by_seed: Vec<_> =
            (0..100_000).map(|seed| Key { seed, episode: 3 }.uniform(5)).collect();
        for x in [by_episode, by_position, by_seed] {
            let mut counts = [0usize; 256];
            x.iter().for_each(|u| counts[(u * 256.0) as usize] += 1);
            let expected = x.len() as f64 / 256.0;
            let chi2: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
            // 255 degrees of freedom: mean 255, standard deviation 22.6; four of them.
            assert!((165.0..346.0).contains(&chi2), "chi-square {chi2}");
        }
    }

    #[test]
    fn neighbours_are_uncorrelated() {
        let n = 200_000;
        let limit = 4.0 / (n as f64).sqrt();
        let u = |episode: u64, p: usize| Key { seed: SEED, episode }.uniform(p);
        let episodes = correlation((0..n as u64).map(|e| (u(e, 7), u(e + 1, 7))));
        let positions = correlation((0..n).map(|p| (u(7, p), u(7, p + 1))));
        // A sum instead of a hash of the counters would make these the same numbers.
        let diagonal = correlation((0..n).map(|p| (u(p as u64, p + 1), u(p as u64 + 1, p))));
        let seeds = correlation(
            (0..n as u64)
                .map(|s| (Key { seed: s, episode: s }, Key { seed: s + 1, episode: s }))
                .map(|(a, b)| (a.uniform(0), b.uniform(0))),
        );
        for (what, r) in [
            ("episodes", episodes),
            ("positions", positions),
            ("diagonal", diagonal),
            ("seeds", seeds),
        ] {
            assert!(r.abs() < limit, "{what}: correlation {r}");
        }
    }
}
