use hydralign_core::{Observer, Phase};
use hydralign_memory::Meter;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What one phase has taken so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseTotal {
    /// The phase.
    pub phase: Phase,
    /// How often it began.
    pub count: usize,
    /// Wall-clock time.
    pub wall: Duration,
    /// Time of all the process's threads on a CPU, user and system together, in steps of
    /// 10 ms; `None` where the system does not tell.
    pub cpu: Option<Duration>,
    /// The highest peak of all its occurrences, in bytes; `None` without a memory meter.
    pub peak_bytes: Option<u64>,
}

/// Measures wall-clock time, CPU time and, with a meter, peak memory of each phase.
pub struct PhaseClock {
    now: Box<dyn Fn() -> Instantaneous>,
    meter: Option<Box<dyn Meter>>,
    running: Option<(Phase, Instantaneous)>,
    totals: BTreeMap<Phase, PhaseTotal>,
}

/// Readings of both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Instantaneous {
    wall: Duration,
    cpu: Option<Duration>,
}

impl PhaseClock {
    /// A clock that has seen no phase.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_clock(move || Instantaneous { wall: start.elapsed(), cpu: process_cpu_time() })
    }

    fn with_clock(now: impl Fn() -> Instantaneous + 'static) -> Self {
        Self { now: Box::new(now), meter: None, running: None, totals: BTreeMap::new() }
    }

    /// Also records peak memory. The peak is read when a phase ends and reset before the next
    /// begins; where another observer does so too, give each its
    /// [`SharedMeter`](crate::SharedMeter).
    #[must_use]
    pub fn with_memory(mut self, meter: impl Meter + 'static) -> Self {
        self.meter = Some(Box::new(meter));
        self
    }

    /// The phases in the order of [`Phase`], the running one up to now.
    pub fn totals(&mut self) -> Vec<PhaseTotal> {
        self.add_running();
        self.totals.values().copied().collect()
    }

    /// Like [`PhaseClock::totals`], and starts again from zero; the running phase goes on.
    pub fn take(&mut self) -> Vec<PhaseTotal> {
        let totals = self.totals();
        self.totals.clear();
        totals
    }

    /// Ends the running phase, so that what follows is counted nowhere.
    pub fn stop(&mut self) {
        self.add_running();
        self.running = None;
    }

    /// Adds what the running phase took since it was last added.
    fn add_running(&mut self) {
        let Some((phase, since)) = self.running else { return };
        let now = (self.now)();
        let peak = self.meter.as_ref().and_then(Meter::bytes_peak);
        let total = self.total(phase);
        total.wall += now.wall.saturating_sub(since.wall);
        total.cpu = (total.cpu.zip(now.cpu).zip(since.cpu))
            .map(|((total, now), since)| total + now.saturating_sub(since));
        total.peak_bytes = total.peak_bytes.max(peak);
        self.running = Some((phase, now));
    }

    fn total(&mut self, phase: Phase) -> &mut PhaseTotal {
        self.totals.entry(phase).or_insert(PhaseTotal {
            phase,
            count: 0,
            wall: Duration::ZERO,
            cpu: Some(Duration::ZERO),
            peak_bytes: None,
        })
    }
}

impl Default for PhaseClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PhaseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhaseClock")
            .field("running", &self.running)
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}

impl Observer for PhaseClock {
    fn phase(&mut self, phase: Phase) {
        self.add_running();
        if let Some(meter) = &self.meter {
            meter.reset_peak();
        }
        self.total(phase).count += 1;
        self.running = Some((phase, (self.now)()));
    }
}

/// CPU time of this process, all threads, those that ended included.
fn process_cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // `utime` and `stime` are fields 14 and 15 of proc(5). The name, field 2, may hold spaces
    // and parentheses, so counting starts behind its last parenthesis, at field 3.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(14 - 3);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    // Linux reports to user space in hundredths of a second, whatever the kernel's own tick.
    Some(Duration::from_millis((ticks()? + ticks()?) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeMeter;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A clock that a test sets: wall seconds; CPU runs at twice the speed.
    fn clock() -> (Rc<Cell<u64>>, PhaseClock) {
        let seconds = Rc::new(Cell::new(0));
        let read = seconds.clone();
        let now = move || Instantaneous {
            wall: Duration::from_secs(read.get()),
            cpu: Some(Duration::from_secs(2 * read.get())),
        };
        (seconds, PhaseClock::with_clock(now))
    }

    fn seconds(totals: &[PhaseTotal]) -> Vec<(Phase, usize, u64, u64)> {
        let cpu = |t: &PhaseTotal| t.cpu.unwrap().as_secs();
        totals.iter().map(|t| (t.phase, t.count, t.wall.as_secs(), cpu(t))).collect()
    }

    #[test]
    fn phases_add_up_and_the_running_one_counts() {
        let (time, mut clock) = clock();
        time.set(5); // before the first phase: nobody's
        for (phase, lasts) in [(Phase::Generate, 3), (Phase::Update, 4), (Phase::Generate, 1)] {
            clock.phase(phase);
            time.set(time.get() + lasts);
        }
        let expected = [(Phase::Generate, 2, 4, 8), (Phase::Update, 1, 4, 8)];
        assert_eq!(seconds(&clock.totals()), expected);
        assert_eq!(seconds(&clock.totals()), expected, "reading changes nothing");
        clock.stop();
        time.set(100);
        assert_eq!(seconds(&clock.totals()), expected);
    }

    #[test]
    fn taking_starts_again_and_loses_nothing() {
        let (time, mut clock) = clock();
        clock.phase(Phase::Score);
        time.set(2);
        assert_eq!(seconds(&clock.take()), [(Phase::Score, 1, 2, 4)]);
        time.set(7);
        assert_eq!(seconds(&clock.take()), [(Phase::Score, 0, 5, 10)]);
    }

    #[test]
    fn the_peak_is_the_highest_of_the_phase_alone() {
        let meter = FakeMeter::default();
        let mut clock = PhaseClock::new().with_memory(meter.clone());
        for (phase, bytes) in [(Phase::Update, 90), (Phase::Score, 10), (Phase::Update, 30)] {
            clock.phase(phase);
            meter.hold(bytes);
            meter.hold(1);
        }
        let peaks: Vec<_> = clock.totals().iter().map(|t| (t.phase, t.peak_bytes)).collect();
        assert_eq!(peaks, [(Phase::Score, Some(10)), (Phase::Update, Some(90))]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn cpu_time_follows_work_and_not_sleep() {
        let before = process_cpu_time().unwrap();
        let start = Instant::now();
        let mut x = 1_u64;
        while process_cpu_time().unwrap() < before + Duration::from_millis(50) {
            x = std::hint::black_box(x.wrapping_mul(3));
            assert!(start.elapsed() < Duration::from_secs(60), "CPU time stands still");
        }
    }
}
