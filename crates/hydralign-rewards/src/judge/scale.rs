use serde::{Deserialize, Serialize};

/// The scores that a judge may give, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The score of the worst response.
    pub low: f32,
    /// The score of the best response.
    pub high: f32,
}

impl Default for Scale {
    /// 0 to 10.
    fn default() -> Self {
        Self { low: 0.0, high: 10.0 }
    }
}

impl Scale {
    pub(crate) fn is_valid(&self) -> bool {
        self.low.is_finite() && self.high.is_finite() && self.low < self.high
    }

    /// Compared in `f64`, so that 10.0000001 is not rounded onto the scale.
    pub(crate) fn holds(&self, value: f64) -> bool {
        (f64::from(self.low)..=f64::from(self.high)).contains(&value)
    }
}
