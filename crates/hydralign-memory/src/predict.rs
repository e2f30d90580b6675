use crate::{Category, Estimate, Footprint, MemoryError, Moment, PhaseName, Workload};
use hydralign_placement::{LoraShape, ModelShape, Placement, Role};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of each phase of an iteration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

    /// The phase that needs most, and its footprint: the run needs the maximum over phases.
    pub fn peak(&self) -> (PhaseName, &Footprint) {
        // The first of equals; an update phase always exists.
        let highest = self.iter().max_by_key(|(phase, f)| (f.total(), std::cmp::Reverse(*phase)));
        highest.expect("every prediction has an update phase")
    }
}

impl Estimate<'_> {
    /// Bytes of every phase that the placement goes through.
    ///
    /// A placement with a reference is one of reinforcement learning: it generates, scores and
    /// updates. One without is a training stage on given data: it only updates.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn predict(&self) -> Result<Prediction, MemoryError> {
        let learns_online = self.placement.views.contains_key(&Role::Reference);
        let phases = if learns_online { &PhaseName::ALL[..] } else { &[PhaseName::Update] };
        let mut footprints = BTreeMap::new();
        for &phase in phases {
            footprints.insert(phase, self.footprint(phase)?);
        }
        Ok(Prediction { phases: footprints })
    }

    /// Bytes of one phase, at the moment that needs most.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn footprint(&self, phase: PhaseName) -> Result<Footprint, MemoryError> {
        let mut largest = Footprint::default();
        for &moment in Moment::of(phase) {
            let footprint = self.footprint_at(phase, moment)?;
            if footprint.total() > largest.total() {
                largest = footprint;
            }
        }
        Ok(largest)
    }

    /// Bytes of one moment of a phase: what is stored, and the buffers that are alive then.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`].
    pub fn footprint_at(&self, phase: PhaseName, moment: Moment) -> Result<Footprint, MemoryError> {
        let kv_cache = match phase {
            PhaseName::Generate => self.kv_cache()?,
            PhaseName::Score | PhaseName::Update => 0,
        };
        Footprint::new([
            (Category::Weights, self.weights()?),
            (Category::Adapters, self.adapters()?),
            (Category::Heads, self.heads()?),
            (Category::Gradients, self.gradients(phase, moment)?),
            (Category::Optimizer, self.optimizer()?),
            (Category::Activations, self.activations(phase, moment)?),
            (Category::Logits, self.logits(phase, moment)?),
            (Category::KvCache, kv_cache),
            (Category::Experience, self.experience()?),
        ])
    }
}

/// Bytes of every phase, from plain values.
///
/// # Errors
/// As [`Estimate::new`] and [`Estimate::predict`].
pub fn predict(
    placement: &Placement,
    shape: &ModelShape,
    lora: &LoraShape,
    workload: &Workload,
) -> Result<Prediction, MemoryError> {
    Estimate::new(placement, shape, lora, workload)?.predict()
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
