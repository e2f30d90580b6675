use hydralign_memory::Meter;
use std::cell::Cell;
use std::rc::Rc;

/// A meter that a test sets; clones are handles to the same bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeMeter(Rc<Cell<Option<(u64, u64)>>>);

impl FakeMeter {
    /// Holds that many bytes from now on.
    pub(crate) fn hold(&self, bytes: u64) {
        let peak = self.0.get().map_or(0, |(_, peak)| peak);
        self.0.set(Some((bytes, peak.max(bytes))));
    }

    /// Can not tell any more.
    pub(crate) fn forget(&self) {
        self.0.set(None);
    }
}

impl Meter for FakeMeter {
    fn bytes_in_use(&self) -> Option<u64> {
        self.0.get().map(|(live, _)| live)
    }

    fn bytes_peak(&self) -> Option<u64> {
        self.0.get().map(|(_, peak)| peak)
    }

    fn reset_peak(&self) -> bool {
        self.0.set(self.0.get().map(|(live, _)| (live, live)));
        true
    }
}
