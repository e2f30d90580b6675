use crate::{Category, Footprint, PhaseName};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of each phase of an iteration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Prediction {
    phases: BTreeMap<PhaseName, Footprint>,
}

impl Prediction {
    /// The footprint of a phase; none if the placement has no such phase.
    pub fn get(&self, phase: PhaseName) -> Option<&Footprint> {
        self.phases.get(&phase)
    }

    /// The phases in the order in which an iteration goes through them.
    pub fn iter(&self) -> impl Iterator<Item = (PhaseName, &Footprint)> {
        self.phases.iter().map(|(&phase, footprint)| (phase, footprint))
    }

    /// The phase that needs most, and its footprint: the run needs the maximum over phases. None
    /// without phases.
    pub fn peak(&self) -> Option<(PhaseName, &Footprint)> {
        // The first of equals.
        self.iter().max_by_key(|(phase, f)| (f.total(), std::cmp::Reverse(*phase)))
    }

    /// Raises a phase to a footprint, if that is larger.
    pub(crate) fn raise(&mut self, phase: PhaseName, footprint: Footprint) {
        let held = self.phases.entry(phase).or_default();
        if footprint.total() > held.total() {
            *held = footprint;
        }
    }
}

impl fmt::Display for Prediction {
    /// One column a phase, one row a category.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}", "")?;
        self.iter().try_for_each(|(phase, _)| write!(f, " {phase:>12}"))?;
        let mut row = |name: &str, bytes: &dyn Fn(&Footprint) -> u64| {
            write!(f, "\n{name:<12}")?;
            let cell = |(_, footprint)| bytes(footprint);
            self.iter()
                .map(cell)
                .try_for_each(|bytes| write!(f, " {:>12}", crate::format_bytes(bytes)))
        };
        for category in Category::ALL {
            row(category.name(), &|footprint| footprint.get(category))?;
        }
        row("total", &Footprint::total)
    }
}
