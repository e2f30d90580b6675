use hydralign_memory::Meter;

/// Reads another meter less a floor: what was there before, and is no part of what is measured.
#[derive(Clone, Copy, Debug)]
pub struct Above<M> {
    meter: M,
    floor: u64,
}

impl<M: Meter> Above<M> {
    /// The bytes of `meter` beyond `floor`; readings below it are zero.
    pub fn new(meter: M, floor: u64) -> Self {
        Self { meter, floor }
    }

    fn above(&self, bytes: Option<u64>) -> Option<u64> {
        Some(bytes?.saturating_sub(self.floor))
    }
}

impl<M: Meter> Meter for Above<M> {
    fn bytes_in_use(&self) -> Option<u64> {
        self.above(self.meter.bytes_in_use())
    }

    fn bytes_peak(&self) -> Option<u64> {
        self.above(self.meter.bytes_peak())
    }

    fn reset_peak(&self) -> bool {
        self.meter.reset_peak()
    }
}
