//! Exponentials, sums and inverse-CDF draws over one row of the vocabulary.

use crate::SampleError;

/// Tokens whose weights are added up before they enter the running sum.
const BLOCK: usize = 64;
/// Below this e^x is no normal `f32`: such a token has no weight.
const LOWEST: f32 = -86.0;

/// The largest logit.
///
/// # Errors
/// [`SampleError::Empty`], [`SampleError::NotFinite`] for NaN and +∞,
/// [`SampleError::NothingLeft`] if all are −∞.
pub(crate) fn peak(logits: &[f32]) -> Result<f32, SampleError> {
    if logits.is_empty() {
        return Err(SampleError::Empty);
    }
    let bad = |l: f32| l.is_nan() || l == f32::INFINITY;
    // Counted rather than searched: a loop without an exit is vectorised.
    if logits.iter().map(|&l| u32::from(bad(l))).sum::<u32>() > 0 {
        let found = logits.iter().copied().enumerate().find(|(_, l)| bad(*l));
        let (token, logit) = found.unwrap_or((0, f32::NAN));
        return Err(SampleError::NotFinite { token, logit });
    }
    let top = maximum(logits);
    if top == f32::NEG_INFINITY {
        return Err(SampleError::NothingLeft { suppressed: 0 });
    }
    Ok(top)
}

/// The largest value; −∞ for none.
pub(crate) fn maximum(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (lanes, rest) = values.as_chunks::<16>();
    let mut top = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        top.iter_mut().zip(lane).for_each(|(a, &b)| *a = larger(*a, b));
    }
    top.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// e^x for x ≤ 0 to about 1e-7, relative; 0 below e⁻⁸⁶.
///
/// x = n ln 2 + r with |r| ≤ ½ ln 2, e^x = 2ⁿ Σₖ rᵏ/k! up to k = 7. No call and no branch, so that
/// a loop over the vocabulary is vectorised, which the C library's `expf` forbids.
#[inline(always)]
pub(crate) fn exp_nonpositive(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has few enough bits that n times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < LOWEST { LOWEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + coefficient;
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { series * scale }
}

/// exp((l − peak) / T) of each logit.
pub(crate) fn weights(logits: &[f32], peak: f32, temperature: f32) -> Vec<f32> {
    logits.iter().map(|l| exp_nonpositive((l - peak) / temperature)).collect()
}

/// Σ exp(l − peak): what [`total`] of the [`weights`] at T = 1 would be, without storing them.
pub(crate) fn exp_total(logits: &[f32], peak: f32) -> f64 {
    let mut block = [0.0; BLOCK];
    let mut sum = 0.0;
    for chunk in logits.chunks(BLOCK) {
        let weights = &mut block[..chunk.len()];
        weights.iter_mut().zip(chunk).for_each(|(w, l)| *w = exp_nonpositive(l - peak));
        sum += block_sum(weights);
    }
    sum
}

/// Sum in `f64`, block by block: the same partial sums that [`pick`] walks through.
pub(crate) fn total(weights: &[f32]) -> f64 {
    weights.chunks(BLOCK).map(block_sum).sum()
}

fn block_sum(block: &[f32]) -> f64 {
    let (lanes, rest) = block.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for lane in lanes {
        sums.iter_mut().zip(lane).for_each(|(s, &w)| *s += f64::from(w));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&w| f64::from(w)).sum::<f64>()
}

/// The first token, by id, at which the running sum of the weights exceeds `target`; with
/// rounding at the very end, the last token that has a weight.
pub(crate) fn pick(weights: &[f32], target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (b, block) in weights.chunks(BLOCK).enumerate() {
        let above = sum + block_sum(block);
        if above > target {
            for (i, &w) in block.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                last = b * BLOCK + i;
                sum += f64::from(w);
                if sum > target {
                    break;
                }
            }
            return last;
        }
        if let Some(i) = block.iter().rposition(|&w| w > 0.0) {
            last = b * BLOCK + i;
        }
        sum = above;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_agrees_with_double_precision() {
        let mut worst = 0.0f64;
        for i in 0..860_000 {
            let x = -(i as f32) * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp_nonpositive(x)) - want).abs() / want);
        }
        assert!(worst < 2e-7, "relative error {worst}");
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert_eq!(exp_nonpositive(-87.0), 0.0);
        assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn peaks_refuse_what_is_no_logit() {
        let refused = |l: &[f32]| peak(l).unwrap_err();
        assert_eq!(refused(&[]), SampleError::Empty);
        assert!(matches!(refused(&[0.0, f32::NAN]), SampleError::NotFinite { token: 1, .. }));
        let infinite = SampleError::NotFinite { token: 0, logit: f32::INFINITY };
        assert_eq!(refused(&[f32::INFINITY, 0.0]), infinite);
        assert_eq!(refused(&[f32::NEG_INFINITY; 40]), SampleError::NothingLeft { suppressed: 0 });
        assert_eq!(peak(&[f32::NEG_INFINITY, -3.0]), Ok(-3.0));
    }

    #[test]
    fn both_ways_to_the_sum_agree_to_the_last_bit() {
        let logits: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
        assert_eq!(exp_total(&logits, 9.0), total(&weights(&logits, 9.0, 1.0)));
    }

    #[test]
    fn tokens_without_weight_are_never_picked() {
        let mut weights = vec![0.0f32; 300];
        weights[70] = 1.0;
        weights[200] = 3.0;
        let sum = total(&weights);
        assert_eq!(sum, 4.0);
        for (target, token) in [(0.0, 70), (0.999, 70), (1.0, 200), (3.999, 200), (4.0, 200)] {
            assert_eq!(pick(&weights, target), token, "target {target}");
        }
    }
}
