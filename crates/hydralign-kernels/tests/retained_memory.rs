//! Freed memory stays in the process once it was asked to. A program of its own: the setting
//! is the process's.

use hydralign_kernels::retain_freed_memory;
use std::hint::black_box;

const BLOCK: usize = 64 << 20;

/// Minor page faults of this process so far.
fn page_faults() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses; minflt is the eighth after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}

/// Page faults of taking, filling and freeing a large block.
fn faults_of_a_block() -> Option<u64> {
    let before = page_faults()?;
    drop(black_box(vec![1_u8; BLOCK]));
    Some(page_faults()? - before)
}

fn main() {
    if cfg!(miri) || !cfg!(all(target_os = "linux", target_env = "gnu")) {
        assert!(!retain_freed_memory());
        return;
    }
    // Huge pages would hide the faults behind a few large ones; 16 is far below even those.
    let returned = [(); 2].map(|()| faults_of_a_block().expect("/proc is readable"));
    assert!(returned[1] > 16, "each block is mapped afresh by default: {returned:?}");

    assert!(retain_freed_memory());
    faults_of_a_block(); // The heap grows to this size once.
    let kept = faults_of_a_block().expect("/proc is readable");
    assert!(kept <= 16, "{kept} page faults although the block was kept");
}
