/// The arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation, with n − 1 below the sum; `None` of fewer than two values.
pub fn sample_std(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// A win rate with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WinRate {
    /// Share of wins, ties counting half.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The win rate of paired comparisons; `None` without any.
///
/// ```text
/// p = (wins + ties/2) / n
/// (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n),   z = Φ⁻¹(0.975)
/// ```
///
/// Wilson's score interval (JASA 22, 1927) stays inside [0, 1] and has a width at p = 0 and 1
/// also, where the normal interval has none. Ties make it too wide rather than too narrow:
/// their half points vary less than the wins and losses that p(1 − p) stands for.
pub fn win_rate(wins: usize, ties: usize, losses: usize) -> Option<WinRate> {
    const Z: f64 = 1.959_963_984_540_054;
    let n = (wins + ties + losses) as f64;
    if n == 0.0 {
        return None;
    }
    let p = (wins as f64 + ties as f64 / 2.0) / n;
    let shrink = 1.0 + Z * Z / n;
    let center = (p + Z * Z / (2.0 * n)) / shrink;
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / shrink;
    // Rounding may carry an end past its bound by one bit.
    let (low, high) = ((center - half).clamp(0.0, p), (center + half).clamp(p, 1.0));
    Some(WinRate { rate: p, low, high })
}

/// The win rate of scores against others of the same prompts, pair by pair: true scores, those of a
/// reward model, or a judge's. `None` without pairs.
pub fn paired_win_rate(ours: &[f64], theirs: &[f64]) -> Option<WinRate> {
    let pairs = || ours.iter().zip(theirs);
    let wins = pairs().filter(|(a, b)| a > b).count();
    let ties = pairs().filter(|(a, b)| a == b).count();
    win_rate(wins, ties, pairs().count() - wins - ties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_as_wins_ties_and_losses() {
        let counted = paired_win_rate(&[1.0, 2.0, 2.0, 0.0], &[0.0, 2.0, 3.0, -1.0]);
        assert_eq!(counted, win_rate(2, 1, 1));
        assert_eq!(paired_win_rate(&[], &[]), None);
    }
}
