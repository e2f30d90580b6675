use crate::{Ledger, PhaseBytes};
use hydralign_core::{Observer, Phase};
use hydralign_memory::{Category, Meter};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// Records what each occurrence of a phase holds.
///
/// The meter tells how much, the [`Ledger`] what for and what is no part of the run; that part
/// is in no record. A meter that can not reset its peak gives
/// the peak of the run so far; one that knows nothing leaves no records.
pub struct MemoryTimeline {
    now: Box<dyn Fn() -> f64>,
    earlier_seconds: f64,
    meter: Box<dyn Meter>,
    ledger: Ledger,
    running: Option<Running>,
    records: Vec<PhaseBytes>,
}

#[derive(Debug)]
struct Running {
    phase: Phase,
    start: f64,
    /// None if the meter knew nothing.
    live: Option<u64>,
    beside: u64,
    held: BTreeMap<Category, u64>,
}

impl MemoryTimeline {
    /// A timeline that begins now.
    pub fn new(meter: impl Meter + 'static, ledger: &Ledger) -> Self {
        let start = Instant::now();
        Self {
            now: Box::new(move || start.elapsed().as_secs_f64()),
            earlier_seconds: 0.0,
            meter: Box::new(meter),
            ledger: ledger.clone(),
            running: None,
            records: Vec::new(),
        }
    }

    /// The timeline of a run that has taken `seconds` already.
    #[must_use]
    pub fn after(self, seconds: f64) -> Self {
        Self { earlier_seconds: seconds, ..self }
    }

    /// The records since the last call. The running phase is cut in two: the part up to now is
    /// the last of them, the rest goes on with a peak of its own.
    pub fn take(&mut self) -> Vec<PhaseBytes> {
        if let Some(phase) = self.end() {
            self.begin(phase);
        }
        std::mem::take(&mut self.records)
    }

    /// Ends the running phase, so that what follows is recorded nowhere.
    pub fn stop(&mut self) {
        self.end();
    }

    fn begin(&mut self, phase: Phase) {
        self.meter.reset_peak();
        self.running = Some(Running {
            phase,
            start: self.seconds(),
            live: self.meter.bytes_in_use(),
            beside: self.ledger.beside(),
            held: self.ledger.held(),
        });
    }

    /// Records the running phase and returns which it was.
    fn end(&mut self) -> Option<Phase> {
        let Running { phase, start, live, beside, mut held } = self.running.take()?;
        if let (Some(before), Some(after)) = (live, self.meter.bytes_in_use()) {
            // What came or went in between was not there throughout, so maybe not at the peak.
            let now = self.ledger.held();
            held.iter_mut()
                .for_each(|(c, bytes)| *bytes = now.get(c).map_or(0, |&n| n.min(*bytes)));
            held.retain(|_, bytes| *bytes > 0);
            let beside = beside.min(self.ledger.beside());
            let peak = self.meter.bytes_peak().unwrap_or(0).max(before).max(after);
            self.records.push(PhaseBytes {
                phase,
                start,
                end: self.seconds(),
                live_before: before.saturating_sub(beside),
                live_after: after.saturating_sub(beside),
                peak: peak.saturating_sub(beside),
                held,
            });
        }
        Some(phase)
    }

    fn seconds(&self) -> f64 {
        self.earlier_seconds + (self.now)()
    }
}

impl Observer for MemoryTimeline {
    fn phase(&mut self, phase: Phase) {
        self.end();
        self.begin(phase);
    }
}

impl fmt::Debug for MemoryTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTimeline")
            .field("running", &self.running)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeMeter;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A timeline whose clock, meter and ledger a test sets.
    fn timeline() -> (Rc<Cell<f64>>, FakeMeter, Ledger, MemoryTimeline) {
        let (time, meter, ledger) =
            (Rc::new(Cell::new(0.0)), FakeMeter::default(), Ledger::default());
        let mut timeline = MemoryTimeline::new(meter.clone(), &ledger);
        let read = time.clone();
        timeline.now = Box::new(move || read.get());
        (time, meter, ledger, timeline)
    }

    /// Phase, times, then bytes before, after and at the peak.
    type Row = (Phase, f64, f64, u64, u64, u64);

    fn rows(records: &[PhaseBytes]) -> Vec<Row> {
        let row = |r: &PhaseBytes| (r.phase, r.start, r.end, r.live_before, r.live_after, r.peak);
        records.iter().map(row).collect()
    }

    #[test]
    fn each_occurrence_has_its_own_times_and_bytes() {
        let (time, meter, _, timeline) = timeline();
        let mut timeline = timeline.after(100.0);
        meter.hold(70); // before the first phase: in no record
        meter.hold(5);
        let mut phase = |phase, seconds: f64, peak, after| {
            timeline.phase(phase);
            time.set(time.get() + seconds);
            meter.hold(peak);
            meter.hold(after);
        };
        phase(Phase::Generate, 2.0, 40, 6);
        phase(Phase::Update, 1.0, 30, 8);
        phase(Phase::Generate, 0.5, 20, 7);
        let expected = [
            (Phase::Generate, 100.0, 102.0, 5, 6, 40),
            (Phase::Update, 102.0, 103.0, 6, 8, 30),
            (Phase::Generate, 103.0, 103.5, 8, 7, 20),
        ];
        assert_eq!(rows(&timeline.take()), expected);
        // The last goes on, with a peak of its own.
        time.set(5.0);
        timeline.stop();
        meter.hold(1000);
        time.set(9.0);
        assert_eq!(rows(&timeline.take()), [(Phase::Generate, 103.5, 105.0, 7, 7, 7)]);
        assert_eq!(timeline.take(), []);
    }

    #[test]
    fn what_is_held_throughout_is_told_from_what_the_phase_works_with() {
        let (_, meter, ledger, mut timeline) = timeline();
        meter.hold(100);
        ledger.hold(Category::Weights, 80);
        ledger.hold(Category::Experience, 10);
        timeline.phase(Phase::Update);
        meter.hold(190);
        ledger.hold(Category::Optimizer, 60); // after the first step
        ledger.hold(Category::Experience, 4); // a part of it is gone
        timeline.phase(Phase::Report);
        ledger.hold(Category::Experience, 0);
        let records = timeline.take();
        let held =
            |index: usize| records[index].held.iter().map(|(&c, &b)| (c, b)).collect::<Vec<_>>();
        assert_eq!(held(0), [(Category::Weights, 80), (Category::Experience, 4)]);
        assert_eq!(records[0].working(), 190 - 84);
        assert_eq!(held(1), [(Category::Weights, 80), (Category::Optimizer, 60)]);
        assert_eq!(records[1].working(), 190 - 140);
        // A ledger that says more than the meter does not make the rest negative.
        ledger.hold(Category::Weights, 500);
        timeline.phase(Phase::Score);
        timeline.stop();
        assert_eq!(timeline.take()[1].working(), 0);
    }

    #[test]
    fn what_is_no_part_of_the_run_is_in_no_record() {
        let (_, meter, ledger, mut timeline) = timeline();
        meter.hold(100);
        ledger.set_beside(60);
        timeline.phase(Phase::Evaluate);
        meter.hold(150);
        meter.hold(130);
        ledger.set_beside(90); // some of it came in this phase
        timeline.phase(Phase::Generate);
        timeline.stop();
        let expected =
            [(Phase::Evaluate, 0.0, 0.0, 40, 70, 90), (Phase::Generate, 0.0, 0.0, 40, 40, 40)];
        assert_eq!(rows(&timeline.take()), expected);
    }

    #[test]
    fn a_meter_that_knows_nothing_leaves_no_record() {
        let (_, meter, _, mut timeline) = timeline();
        timeline.phase(Phase::Generate);
        meter.hold(5);
        timeline.phase(Phase::Score); // nothing was known when the phase before began
        timeline.phase(Phase::Update);
        meter.forget();
        assert_eq!(rows(&timeline.take()), [(Phase::Score, 0.0, 0.0, 5, 5, 5)]);
    }
}
