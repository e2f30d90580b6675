use crate::Meter;

/// Resident memory of the whole process, as Linux reports it; knows nothing elsewhere.
///
/// It counts code, thread stacks and what the C library keeps after a free, so it reads higher
/// than an allocator's count; it is what a memory limit acts on. Source: `VmRSS` and `VmHWM`
/// of `/proc/self/status` (proc(5)).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMeter;

impl Meter for ProcessMeter {
    fn bytes_in_use(&self) -> Option<u64> {
        field("VmRSS")
    }

    fn bytes_peak(&self) -> Option<u64> {
        field("VmHWM")
    }

    fn reset_peak(&self) -> bool {
        // 5 sets VmHWM to VmRSS (proc(5), since Linux 4.0); containers may forbid it.
        cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok()
    }
}

#[cfg(target_os = "linux")]
fn field(name: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

#[cfg(not(target_os = "linux"))]
fn field(_: &str) -> Option<u64> {
    None
}

/// The bytes of a line `name: 123 kB`; the kernel's kB are 1024 bytes.
#[cfg(any(target_os = "linux", test))]
fn parse(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read() {
        let status = "Name:\tVmHWM: 7 kB\nVmPeak:\t  9000 kB\nVmHWM:\t    1668 kB\nVmRSS:\t1664 kB\n\
                      RssAnon:\t x kB\nVmBig:\t18446744073709551615 kB\n";
        assert_eq!(parse(status, "VmHWM"), Some(1668 * 1024));
        assert_eq!(parse(status, "VmRSS"), Some(1664 * 1024));
        for absent in ["Vm", "VmSwap", "RssAnon", "VmBig", "Name"] {
            assert_eq!(parse(status, absent), None, "{absent}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_follows_a_large_buffer_and_a_reset_ends_it() {
        const SIZE: u64 = 256 << 20;
        let before = ProcessMeter.bytes_in_use().unwrap();
        let buffer = std::hint::black_box(vec![1_u8; SIZE as usize]);
        let during = ProcessMeter.bytes_in_use().unwrap();
        drop(buffer);
        // The kernel's counters lag by a few pages per thread: allow 4 MiB.
        let slack = 4 << 20;
        assert!(during + slack >= before + SIZE, "{before} before, {during} with the buffer");
        assert!(ProcessMeter.bytes_peak().unwrap() + slack >= during);
        if ProcessMeter.reset_peak() {
            assert!(ProcessMeter.bytes_peak().unwrap() < during);
        }
    }
}
