use hydralign_memory::Meter;
use std::cell::Cell;
use std::fmt;

/// A meter over something that tells what is held now and keeps no peak: its peak is the highest
/// reading since the last reset, so it may miss what came and went between two readings.
pub(super) struct Sampled {
    read: Box<dyn Fn() -> Option<u64>>,
    highest: Cell<Option<u64>>,
}

impl Sampled {
    pub(super) fn new(read: impl Fn() -> Option<u64> + 'static) -> Self {
        Self { read: Box::new(read), highest: Cell::new(None) }
    }
}

impl Meter for Sampled {
    fn bytes_in_use(&self) -> Option<u64> {
        let now = (self.read)();
        self.highest.set(self.highest.get().max(now));
        now
    }

    fn bytes_peak(&self) -> Option<u64> {
        self.bytes_in_use();
        self.highest.get()
    }

    fn reset_peak(&self) -> bool {
        self.highest.set(None);
        self.bytes_in_use().is_some()
    }
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampled").field("highest", &self.highest.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn the_peak_is_the_highest_reading_since_the_reset() {
        let held = Rc::new(Cell::new(Some(5)));
        let read = held.clone();
        let meter = Sampled::new(move || read.get());
        assert_eq!(meter.bytes_peak(), Some(5), "asking for the peak is a reading");
        held.set(Some(40)); // nobody reads it
        held.set(Some(9));
        assert_eq!(meter.bytes_in_use(), Some(9));
        held.set(Some(3));
        assert_eq!((meter.bytes_in_use(), meter.bytes_peak()), (Some(3), Some(9)));
        assert!(meter.reset_peak());
        assert_eq!(meter.bytes_peak(), Some(3));
        held.set(None);
        assert_eq!((meter.bytes_in_use(), meter.bytes_peak()), (None, Some(3)));
        assert!(!meter.reset_peak(), "nothing to start from");
        assert_eq!(meter.bytes_peak(), None);
    }
}
