use std::fmt;

/// Tells how many bytes a run holds.
pub trait Meter {
    /// Bytes held now; none if this can not be known here.
    fn bytes_in_use(&self) -> Option<u64>;

    /// The most bytes that were held at once since the start or the last reset.
    fn bytes_peak(&self) -> Option<u64>;

    /// Starts a new peak at what is held now, so that phases can be told apart; false if this
    /// meter can not, and then peaks are of the whole run.
    fn reset_peak(&self) -> bool {
        false
    }
}

impl<M: Meter + ?Sized> Meter for &M {
    fn bytes_in_use(&self) -> Option<u64> {
        (**self).bytes_in_use()
    }

    fn bytes_peak(&self) -> Option<u64> {
        (**self).bytes_peak()
    }

    fn reset_peak(&self) -> bool {
        (**self).reset_peak()
    }
}

impl<M: Meter + ?Sized> Meter for Box<M> {
    fn bytes_in_use(&self) -> Option<u64> {
        (**self).bytes_in_use()
    }

    fn bytes_peak(&self) -> Option<u64> {
        (**self).bytes_peak()
    }

    fn reset_peak(&self) -> bool {
        (**self).reset_peak()
    }
}

/// Reads the counts of an allocator that a binary has installed.
///
/// It takes functions, so that this crate needs no allocator:
/// `AllocatorMeter::new(CountingAllocator::live, CountingAllocator::peak)`.
#[derive(Clone, Copy)]
pub struct AllocatorMeter {
    live: fn() -> u64,
    peak: fn() -> u64,
    reset: Option<fn()>,
}

impl AllocatorMeter {
    /// A meter over two counters; without [`with_reset`](Self::with_reset) it can not reset.
    pub fn new(live: fn() -> u64, peak: fn() -> u64) -> Self {
        Self { live, peak, reset: None }
    }

    /// The same meter with a function that starts a new peak.
    pub fn with_reset(self, reset: fn()) -> Self {
        Self { reset: Some(reset), ..self }
    }

    /// An allocator whose peak is zero has never allocated: it is linked but not installed.
    fn installed(&self) -> bool {
        (self.peak)() > 0
    }
}

impl Meter for AllocatorMeter {
    fn bytes_in_use(&self) -> Option<u64> {
        self.installed().then(|| (self.live)())
    }

    fn bytes_peak(&self) -> Option<u64> {
        self.installed().then(|| (self.peak)())
    }

    fn reset_peak(&self) -> bool {
        match self.reset {
            Some(reset) if self.installed() => {
                reset();
                true
            }
            _ => false,
        }
    }
}

impl fmt::Debug for AllocatorMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatorMeter").field("resets", &self.reset.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    #[test]
    fn an_allocator_meter_reads_its_functions() {
        static PEAK: AtomicU64 = AtomicU64::new(9);
        let meter = AllocatorMeter::new(|| 4, || PEAK.load(SeqCst));
        assert_eq!((meter.bytes_in_use(), meter.bytes_peak()), (Some(4), Some(9)));
        assert!(!meter.reset_peak());
        assert_eq!(meter.bytes_peak(), Some(9));
        let boxed: Box<dyn Meter> = Box::new(meter.with_reset(|| PEAK.store(4, SeqCst)));
        let by_reference: &dyn Meter = &&boxed;
        assert!(by_reference.reset_peak());
        assert_eq!(boxed.bytes_peak(), Some(4));
    }

    #[test]
    fn an_allocator_that_is_not_installed_is_not_read_as_zero_bytes() {
        let meter = AllocatorMeter::new(|| 0, || 0).with_reset(|| ());
        assert_eq!((meter.bytes_in_use(), meter.bytes_peak()), (None, None));
        assert!(!meter.reset_peak());
    }
}
