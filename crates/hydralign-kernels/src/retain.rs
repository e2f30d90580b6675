/// Tells the C library to keep freed memory for reuse; true if it obeys.
///
/// glibc serves a large request with a fresh mapping and unmaps it when it is freed, and gives
/// the end of its heap back to the kernel. A training step frees and asks for the same large
/// tensors all the time, so that each of their pages is faulted in and zeroed again. With both
/// switched off (`M_MMAP_MAX` 0, `M_TRIM_THRESHOLD` −1; see mallopt(3)) a freed block stays in
/// the process. The price: memory once held is not returned, so the resident size follows the
/// peak and no longer the bytes in use.
///
/// Measured with glibc 2.36 on six PPO iterations of a toy model whose logits are 64 MiB: page
/// faults 1,156,162 → 0, system time 1.6 → 0.1 s of 11.9 s of CPU, peak resident size 540 → 558
/// MiB. With all tensors below 32 MiB, where glibc adapts by itself: 136,262 → 1,089 faults, the
/// same CPU time.
///
/// Call it first thing in `main`: what is mapped already is freed as before, and blocks above 64
/// MiB that *other* threads allocate are still mapped. Where the C library is not glibc it
/// changes nothing and returns false.
#[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
pub fn retain_freed_memory() -> bool {
    // SAFETY: mallopt takes two plain integers, locks the allocator's state by itself and
    // changes only how later requests are served. Both parameters and values are documented.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, -1) == 1
    }
}

/// Tells the C library to keep freed memory for reuse: not possible here, so it changes nothing
/// and returns false.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(miri))))]
pub fn retain_freed_memory() -> bool {
    false
}
