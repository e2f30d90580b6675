use super::sampled::Sampled;
use crate::RunError;
use hydralign_memory::Meter;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

/// Bytes that this process holds on an NVIDIA board, as the driver counts them: pools, kernels
/// and the context itself, so more than [`PoolMeter`](crate::PoolMeter) and nearer to what the
/// board runs out of.
///
/// The driver lists processes by their id on the host. It tells nothing of a process that has no
/// context on the board yet, that runs in a container with process ids of its own, or under
/// Windows' display driver model; then readings are none. Like the pools it keeps no peak:
/// [`Meter::bytes_peak`] is the *highest reading* since the last reset, a lower bound.
///
/// Source: `nvmlDeviceGetComputeRunningProcesses` and `nvmlDeviceGetGraphicsRunningProcesses`
/// (Vulkan is listed there) of the NVIDIA Management Library, which is loaded at run time.
#[derive(Debug)]
pub struct NvmlMeter {
    in_use: Sampled,
}

impl NvmlMeter {
    /// A meter of the board of that index, in the order of the PCI bus; CUDA counts in the same
    /// order if `CUDA_DEVICE_ORDER=PCI_BUS_ID` is set.
    ///
    /// # Errors
    /// [`RunError::Nvml`] without the driver's library, without a driver, and without that board.
    pub fn new(index: u32) -> Result<Self, RunError> {
        let fault = |reason| RunError::Nvml { index, reason };
        let nvml = Nvml::init().map_err(fault)?;
        nvml.device_by_index(index).map_err(fault)?;
        let pid = std::process::id();
        let in_use =
            Sampled::new(move || used(&nvml.device_by_index(index).ok()?, pid).ok().flatten());
        Ok(Self { in_use })
    }
}

/// What the board's lists say of a process; one that both computes and draws is in both.
fn used(device: &Device<'_>, pid: u32) -> Result<Option<u64>, NvmlError> {
    match of_process(&device.running_compute_processes()?, pid) {
        Some(bytes) => Ok(Some(bytes)),
        None => Ok(of_process(&device.running_graphics_processes()?, pid)),
    }
}

/// Σ over the instances of a partitioned board; none if one of them is not told.
fn of_process(listed: &[ProcessInfo], pid: u32) -> Option<u64> {
    let own = listed.iter().filter(|process| process.pid == pid);
    own.map(|process| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    })
    .reduce(|sum, bytes| sum?.checked_add(bytes?))
    .flatten()
}

impl Meter for NvmlMeter {
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
    fn a_process_is_found_by_its_id() {
        let process = |pid, used_gpu_memory| ProcessInfo {
            pid,
            used_gpu_memory,
            gpu_instance_id: None,
            compute_instance_id: None,
        };
        let listed = [
            process(7, UsedGpuMemory::Used(500)),
            process(8, UsedGpuMemory::Used(3)),
            process(8, UsedGpuMemory::Used(4)),
            process(9, UsedGpuMemory::Unavailable),
            process(9, UsedGpuMemory::Used(1)),
        ];
        let read = |pid| of_process(&listed, pid);
        assert_eq!((read(7), read(8), read(9), read(10)), (Some(500), Some(7), None, None));
    }

    #[test]
    fn a_board_that_is_not_there_is_an_error_with_its_reason() {
        // Without a driver the library is missing; with one, no machine has that many boards.
        let text = NvmlMeter::new(u32::MAX).unwrap_err().to_string();
        let (start, reason) = text.split_once(": ").unwrap();
        assert_eq!(start, "cannot read the memory of NVIDIA board 4294967295");
        assert!(!reason.is_empty(), "{text}");
    }
}
