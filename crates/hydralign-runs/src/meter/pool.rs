use super::sampled::Sampled;
use burn::tensor::Device;
use hydralign_memory::Meter;

/// Bytes in use in the memory pools of a device; knows nothing on a backend that does not
/// report them, such as the CPU's flex.
///
/// The pools count what is in use now and keep no peak, so [`Meter::bytes_peak`] is the *highest
/// reading* since the last reset: a lower bound of the true peak. What a phase takes and gives
/// back between two readings is not seen. After [`Device::memory_cleanup`] at the phase's begin,
/// [`PoolMeter::reserved`] at its end is an upper bound: pools do not give pages back by
/// themselves.
///
/// Each reading waits for the pending work of the device, so that tensors that were dropped
/// are counted as gone.
///
/// Source: `Device::memory_pool_usage` of burn 0.22 (`burn-tensor/src/device.rs`).
#[derive(Debug)]
pub struct PoolMeter {
    device: Device,
    in_use: Sampled,
}

impl PoolMeter {
    /// A meter of that device's pools.
    pub fn new(device: &Device) -> Self {
        let pools = device.clone();
        let in_use = Sampled::new(move || {
            pools.sync().ok()?;
            Some(pools.memory_pool_usage()?.bytes_in_use)
        });
        Self { device: device.clone(), in_use }
    }

    /// Bytes that the pools have taken from the device: those in use, padding, and pages that are
    /// kept for reuse.
    pub fn reserved(&self) -> Option<u64> {
        self.device.sync().ok()?;
        Some(self.device.memory_pool_usage()?.bytes_reserved)
    }
}

impl Meter for PoolMeter {
    fn bytes_in_use(&self) -> Option<u64> {
        self.in_use.bytes_in_use()
    }

    fn bytes_peak(&self) -> Option<u64> {
        self.in_use.bytes_peak()
    }

    fn reset_peak(&self) -> bool {
        self.in_use.reset_peak()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_pools_is_not_read_as_zero_bytes() {
        let meter = PoolMeter::new(&Device::flex());
        assert_eq!((meter.bytes_in_use(), meter.bytes_peak()), (None, None));
        assert_eq!(meter.reserved(), None);
        assert!(!meter.reset_peak());
    }
}
