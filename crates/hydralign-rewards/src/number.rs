use crate::latex;
use crate::scan::{Found, numbers};

/// A number as a text states it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    value: f64,
    percent: bool,
}

impl Number {
    pub(crate) fn new(value: f64, percent: bool) -> Self {
        Self { value, percent }
    }

    /// The number that a text ends in.
    ///
    /// A marked answer wins over any other number: `#### 42` as GSM8K writes it, or `\boxed{42}`;
    /// of several marked answers the last. A box must hold exactly one number. Without a mark,
    /// the last number of the text counts.
    ///
    /// Read are signs, decimals, thousands separators (`1,234.5`), exponents (`1.5e-3`),
    /// fractions (`3/4`, `1 3/4`, `\frac{3}{4}`) and percent. What only contains a number is
    /// none: `10^5`, `\sqrt{2}`, `2\pi`, the date 3/4/2024, the index of x_1. If the text ends in
    /// one of the first four, it has no number.
    pub fn of(text: &str) -> Option<Self> {
        let text = latex::plain(text);
        let boxed = latex::last_box(&text);
        match (last_hashes(&text), boxed) {
            (Some((hashes, number)), Some((at, _))) if hashes > at => number,
            (_, Some((_, inside))) => only(inside),
            (Some((_, number)), None) => number,
            (None, None) => numbers(&text).last().and_then(|found| found.number),
        }
    }

    /// The number as it is written: 50 for `50%`.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Whether two numbers differ by at most a tolerance.
    ///
    /// |a − b| ≤ tolerance
    ///
    /// `50%` equals both `50` and `0.5`, for people ask for either, but not `0.5%`. Numbers
    /// are `f64`: integers are told apart up to 2⁵³.
    pub fn equals(&self, other: &Number, tolerance: f64) -> bool {
        let share = |n: &Number| if n.percent { n.value / 100.0 } else { n.value };
        let as_written = close(self.value, other.value, tolerance);
        as_written || (self.percent != other.percent && close(share(self), share(other), tolerance))
    }
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    // 0.76 − 0.75 is a little more than 0.01 in binary; integers need no such allowance.
    let whole = a.fract() == 0.0 && b.fract() == 0.0;
    let rounding = if whole { 0.0 } else { f64::EPSILON * a.abs().max(b.abs()) };
    (a - b).abs() <= tolerance + rounding
}

/// The number right after the last `####` that has one, and where that mark is: `#### Step 1` is
/// a heading.
fn last_hashes(text: &str) -> Option<(usize, Option<Number>)> {
    text.rmatch_indices("####").find_map(|(at, mark)| {
        let line = text[at + mark.len()..].lines().next()?.trim_start();
        let first = numbers(line).next().filter(|found| found.start == 0)?;
        Some((at, first.number))
    })
}

/// The number of a text that has exactly one.
fn only(text: &str) -> Option<Number> {
    let mut found = numbers(text);
    match (found.next(), found.next()) {
        (Some(Found { number, .. }), None) => number,
        _ => None,
    }
}
