/// One axis: the range that is shown and where its ticks are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Distance of neighbouring ticks: 1, 2 or 5 times a power of ten.
    pub(super) step: f64,
}

/// Below this share of its magnitude a range is rounding noise: the values are constant.
const FLAT: f64 = 1e-6;
/// Smaller magnitudes are drawn as zero; their ticks would underflow.
const TINY: f64 = 1e-280;
/// Larger ones are drawn at this edge; sums of them would overflow.
const HUGE: f64 = 1e300;

impl Axis {
    /// An axis of steps: from the first value to the last, ticks on whole numbers only if all
    /// values are whole. Values must be finite; `None` without any.
    pub(super) fn of_steps(values: &[f64]) -> Option<Self> {
        let (low, high) = extent(values)?;
        // One step to each side of a single step; more where one is lost in rounding.
        let room = if is_flat(low, high) { (high.abs() * 1e-6).max(1.0) } else { 0.0 };
        let (low, high) = (low - room, high + room);
        let whole = values.iter().all(|v| v.fract() == 0.0);
        let step = nice_step(low, high);
        Some(Self { low, high, step: if whole { step.max(1.0) } else { step } })
    }

    /// An axis of measurements: some room above and below, but none beyond zero.
    pub(super) fn of_values(values: &[f64]) -> Option<Self> {
        let (low, high) = extent(values)?;
        let room = match low.abs().max(high.abs()) {
            magnitude if magnitude < TINY => 1.0,
            magnitude if is_flat(low, high) => magnitude * 0.1,
            _ => (high - low) * 0.06,
        };
        let (mut from, mut to) = (low - room, high + room);
        if !is_flat(low, high) && low >= 0.0 {
            from = from.max(0.0);
        }
        if !is_flat(low, high) && high <= 0.0 {
            to = to.min(0.0);
        }
        Some(Self { low: from, high: to, step: nice_step(from, to) })
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value.clamp(-HUGE, HUGE) - self.low) / (self.high - self.low)
    }

    /// The ticks in the range, with their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        // Multiples of the step, rather than sums, so that errors do not add up.
        let first = (self.low / self.step - 1e-9).ceil();
        let last = (self.high / self.step + 1e-9).floor();
        (0..=(last - first).clamp(0.0, 20.0) as usize)
            .map(|i| (first + i as f64) * self.step)
            .map(|tick| (tick, self.label(tick)))
            .collect()
    }

    fn label(&self, tick: f64) -> String {
        let digits = -self.step.log10().floor() as i32;
        let magnitude = self.low.abs().max(self.high.abs());
        if tick == 0.0 {
            "0".to_owned()
        } else if magnitude >= 1e6 || digits > if magnitude < 0.01 { 4 } else { 6 } {
            let significant = magnitude.log10().floor() as i32 + digits;
            format!("{tick:.*e}", significant.clamp(0, 6) as usize)
        } else {
            format!("{tick:.*}", digits.max(0) as usize)
        }
    }
}

fn extent(values: &[f64]) -> Option<(f64, f64)> {
    let clamped = || values.iter().map(|v| v.clamp(-HUGE, HUGE));
    Some((clamped().reduce(f64::min)?, clamped().reduce(f64::max)?))
}

fn is_flat(low: f64, high: f64) -> bool {
    high - low <= (low.abs().max(high.abs()) * FLAT).max(TINY)
}

/// The distance that gives four to eight ticks.
fn nice_step(low: f64, high: f64) -> f64 {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    match rough / power {
        x if x < 1.5 => power,
        x if x < 3.5 => 2.0 * power,
        x if x < 7.5 => 5.0 * power,
        _ => 10.0 * power,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_with_the_digits_they_need() {
        let steps: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(labels(&Axis::of_steps(&steps).unwrap()), ["50", "100", "150", "200"]);
        let values = Axis::of_values(&[-0.31, 0.52]).unwrap();
        assert_eq!(labels(&values), ["-0.2", "0", "0.2", "0.4"]);
        let small = Axis::of_values(&[1.1e-6, 2.9e-6]).unwrap();
        assert_eq!(labels(&small), ["1.0e-6", "1.5e-6", "2.0e-6", "2.5e-6", "3.0e-6"]);
    }

    #[test]
    fn what_differs_by_rounding_alone_is_level() {
        let ratio = Axis::of_values(&[1.0 - 6e-8, 1.0, 1.0 + 1.2e-7]).unwrap();
        assert_eq!(labels(&ratio), ["0.90", "0.95", "1.00", "1.05", "1.10"]);
        let near = Axis::of_values(&[1.0, 1.000_02]).unwrap();
        assert_eq!(labels(&near)[0], "1.000000");
        assert_eq!(labels(&near)[1], "1.000005");
    }

    #[test]
    fn few_steps_get_no_half_steps() {
        assert_eq!(labels(&Axis::of_steps(&[1.0, 2.0, 3.0]).unwrap()), ["1", "2", "3"]);
        assert_eq!(labels(&Axis::of_steps(&[7.0]).unwrap()), ["6", "7", "8"]);
    }

    #[test]
    fn room_does_not_cross_zero() {
        let axis = Axis::of_values(&[0.0, 10.0]).unwrap();
        assert_eq!(axis.low, 0.0);
        assert!(axis.high > 10.0);
        let axis = Axis::of_values(&[-10.0, -0.1]).unwrap();
        assert_eq!(axis.high, 0.0);
    }

    #[test]
    fn every_finite_range_has_an_axis_with_ticks_inside() {
        let numbers = [0.0, 5e-324, 1e-290, 1e-9, 1.0, 1.0 + 1e-15, 3e7, 1e300, f64::MAX];
        let signed: Vec<f64> = numbers.iter().flat_map(|&n| [n, -n]).collect();
        for &a in &signed {
            for &b in &signed {
                for axis in [Axis::of_steps(&[a, b]), Axis::of_values(&[a, b])] {
                    let axis = axis.unwrap();
                    assert!(axis.low < axis.high, "{a} {b}: {axis:?}");
                    let share = (axis.share(a), axis.share(b));
                    assert!((-1e-9..=1.0 + 1e-9).contains(&share.0), "{a} {b}: {share:?}");
                    assert!((-1e-9..=1.0 + 1e-9).contains(&share.1), "{a} {b}: {share:?}");
                    let ticks = axis.ticks();
                    assert!((1..=12).contains(&ticks.len()), "{a} {b}: {ticks:?}");
                    assert!(
                        ticks.iter().all(|(t, _)| (-1e-6..1.0 + 1e-6).contains(&axis.share(*t)))
                    );
                }
            }
        }
        assert_eq!(Axis::of_values(&[]), None);
    }
}
