use crate::PhaseBytes;
use hydralign_core::Phase;
use hydralign_memory::Category;

/// Layers of a stack: every category, and on top what a phase works with.
pub(super) const LAYERS: usize = Category::ALL.len() + 1;

/// What the legend calls a layer.
pub(super) fn layer_name(layer: usize) -> &'static str {
    Category::ALL.get(layer).map_or("working", |category| category.name())
}

/// Bytes that do not change for a while.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) start: f64,
    pub(super) end: f64,
    /// Upper edge of each layer.
    pub(super) tops: [u64; LAYERS],
}

impl Step {
    fn of(record: &PhaseBytes) -> Self {
        let mut sum = 0_u64;
        let tops = std::array::from_fn(|layer| {
            let bytes = match Category::ALL.get(layer) {
                Some(category) => record.held.get(category).copied().unwrap_or(0),
                None => record.working(),
            };
            sum = sum.saturating_add(bytes);
            sum
        });
        Self { start: record.start, end: record.end, tops }
    }

    pub(super) fn total(&self) -> u64 {
        self.tops[LAYERS - 1]
    }

    /// The lower and upper edge of a layer.
    pub(super) fn edges(&self, layer: usize) -> (u64, u64) {
        (layer.checked_sub(1).map_or(0, |below| self.tops[below]), self.tops[layer])
    }
}

/// The steps in time, in stretches without a gap.
///
/// A long run has more phases than pixels, and between two phases there may be a moment of
/// nothing. So steps that are shorter than `shortest` together are one, with the bytes of the
/// highest, and a single short one is left out where both its neighbours are higher.
pub(super) fn stretches(records: &[PhaseBytes], shortest: f64) -> Vec<Vec<Step>> {
    let mut found: Vec<Vec<Step>> = Vec::new();
    for step in records.iter().filter(|r| is_drawn(r)).map(Step::of) {
        let last = found
            .last_mut()
            .filter(|steps| steps.last().is_some_and(|last| step.start - last.end <= shortest));
        match last {
            Some(steps) => append(steps, step, shortest),
            None => found.push(vec![step]),
        }
    }
    found.into_iter().map(|steps| without_dips(&steps, shortest)).collect()
}

fn append(steps: &mut Vec<Step>, step: Step, shortest: f64) {
    match steps.last_mut() {
        Some(last) if step.end - last.start < shortest => {
            last.end = step.end;
            if step.total() > last.total() {
                last.tops = step.tops;
            }
        }
        _ => steps.push(step),
    }
}

/// The steps without short local minima; the step before one lasts until the step after it.
fn without_dips(steps: &[Step], shortest: f64) -> Vec<Step> {
    let total = |index: usize| steps.get(index).map_or(u64::MAX, Step::total);
    let is_dip = |index: usize| {
        let step = &steps[index];
        let lowest_neighbour = total(index.wrapping_sub(1)).min(total(index + 1));
        steps.len() > 1 && step.end - step.start < shortest && step.total() < lowest_neighbour
    };
    let mut kept: Vec<Step> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        match kept.last_mut() {
            Some(before) if is_dip(index) => before.end = step.end,
            _ => kept.push(step.clone()),
        }
    }
    kept
}

/// When each phase ran, occurrences that are less than `shortest` apart as one.
pub(super) fn spans(records: &[PhaseBytes], shortest: f64) -> Vec<(Phase, Vec<(f64, f64)>)> {
    let mut found: Vec<(Phase, Vec<(f64, f64)>)> = Vec::new();
    for record in records.iter().filter(|r| is_drawn(r)) {
        let index = found.iter().position(|(phase, _)| *phase == record.phase);
        let index = index.unwrap_or_else(|| {
            found.push((record.phase, Vec::new()));
            found.len() - 1
        });
        let spans = &mut found[index].1;
        match spans.last_mut() {
            Some(last) if record.start - last.1 < shortest => last.1 = record.end,
            _ => spans.push((record.start, record.end)),
        }
    }
    found.sort_by_key(|(phase, _)| *phase);
    found
}

/// A clock that ran backwards, or a file that somebody edited, is no reason to draw nonsense.
fn is_drawn(record: &PhaseBytes) -> bool {
    record.start.is_finite() && record.end.is_finite() && record.start <= record.end
}

/// From the first moment to the last; none without a record.
pub(super) fn extent(records: &[PhaseBytes]) -> Option<(f64, f64)> {
    let drawn = || records.iter().filter(|r| is_drawn(r));
    let first = drawn().map(|r| r.start).reduce(f64::min)?;
    Some((first, drawn().map(|r| r.end).fold(first, f64::max)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn record(phase: Phase, start: f64, end: f64, peak: u64, weights: u64) -> PhaseBytes {
        let held = BTreeMap::from([(Category::Weights, weights)]);
        PhaseBytes { phase, start, end, live_before: 0, live_after: 0, peak, held }
    }

    fn times(steps: &[Step]) -> Vec<(f64, f64, u64)> {
        steps.iter().map(|s| (s.start, s.end, s.total())).collect()
    }

    #[test]
    fn short_steps_keep_their_highest_and_gaps_stay() {
        let records = [
            record(Phase::Generate, 0.0, 4.0, 10, 3),
            record(Phase::Score, 4.0, 4.01, 50, 4),
            record(Phase::Credit, 4.01, 4.02, 20, 5),
            record(Phase::Update, 4.02, 6.0, 30, 3),
            record(Phase::Generate, 8.0, 9.0, 10, 3),
            record(Phase::Generate, 9.0, f64::NAN, 10, 3),
            record(Phase::Generate, 10.0, 9.0, 10, 3),
        ];
        let found = stretches(&records, 0.1);
        assert_eq!(found.len(), 2);
        assert_eq!(times(&found[0]), [(0.0, 4.0, 10), (4.0, 4.02, 50), (4.02, 6.0, 30)]);
        assert_eq!(found[0][1].edges(0), (0, 4), "the layers of the higher one");
        assert_eq!(times(&found[1]), [(8.0, 9.0, 10)]);
        assert_eq!(extent(&records), Some((0.0, 9.0)));
        assert_eq!(extent(&records[5..]), None);
    }

    #[test]
    fn a_moment_of_nothing_is_left_out_and_a_spike_is_not() {
        let peaks = [20, 5, 30, 40, 30, 4];
        let records: Vec<PhaseBytes> = (0..6)
            .map(|i| (f64::from(i) * 2.0, peaks[i as usize]))
            .map(|(start, peak)| record(Phase::Update, start, start + 2.0, peak, 0))
            .collect();
        let mut short = records.clone();
        // The second, the fourth and the last take no time.
        for (index, r) in short.iter_mut().enumerate() {
            let earlier = [0.0, 0.0, 1.99, 1.99, 3.98, 3.98][index];
            (r.start, r.end) = (r.start - earlier, r.end - earlier);
            if index % 2 == 1 {
                r.end = r.start + 0.01;
            }
        }
        let found = stretches(&short, 0.1);
        let kept: Vec<u64> = found[0].iter().map(Step::total).collect();
        assert_eq!(kept, [20, 30, 40, 30]);
        assert!(found[0].windows(2).all(|w| (w[0].end - w[1].start).abs() < 1e-9));
        let all: Vec<u64> = stretches(&records, 0.1)[0].iter().map(Step::total).collect();
        assert_eq!(all, peaks, "nothing is short");
    }

    #[test]
    fn a_phase_has_one_lane_of_spans() {
        let records = [
            record(Phase::Update, 0.0, 1.0, 1, 0),
            record(Phase::Generate, 1.0, 2.0, 1, 0),
            record(Phase::Update, 2.0, 3.0, 1, 0),
            record(Phase::Update, 3.0, 4.0, 1, 0),
        ];
        let expected = vec![
            (Phase::Generate, vec![(1.0, 2.0)]),
            (Phase::Update, vec![(0.0, 1.0), (2.0, 4.0)]),
        ];
        assert_eq!(spans(&records, 0.1), expected);
    }
}
