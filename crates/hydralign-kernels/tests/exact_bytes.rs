//! Bytes are counted exactly. A program of its own without the test harness, whose threads
//! would allocate in between.

use hydralign_kernels::CountingAllocator;
use std::alloc::Layout;
use std::hint::black_box;
use std::sync::Barrier;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Bytes that a value keeps alive, and the bytes beyond them that making it needed.
fn measure<T>(make: impl FnOnce() -> T) -> (u64, u64, T) {
    CountingAllocator::reset_peak();
    let before = CountingAllocator::live();
    let value = black_box(make());
    let after = CountingAllocator::live();
    (after - before, CountingAllocator::peak() - after, value)
}

fn main() {
    vectors_grow_and_shrink();
    alignment_is_not_size();
    peak_survives_the_free();
    refused_requests_count_nothing();
    zeroed_memory_is_zero_and_untouched();
    threads_add_up();
    threads_leave_nothing_behind();
}

fn vectors_grow_and_shrink() {
    let before = CountingAllocator::live();
    let (held, beyond, mut v) = measure(|| Vec::<u64>::with_capacity(1000));
    assert_eq!((held, beyond), (8000, 0));

    v.extend(0..1000);
    assert_eq!(CountingAllocator::live(), before + 8000);
    v.reserve_exact(2000);
    assert_eq!(CountingAllocator::live(), before + 24_000);

    CountingAllocator::reset_peak();
    v.truncate(10);
    v.shrink_to_fit();
    assert_eq!(CountingAllocator::live(), before + 80);
    assert_eq!(CountingAllocator::peak(), before + 24_000);
    assert_eq!(v, (0..10).collect::<Vec<u64>>());

    drop(v);
    assert_eq!(CountingAllocator::live(), before);
}

fn alignment_is_not_size() {
    #[repr(align(4096))]
    struct Page(#[allow(dead_code, reason = "only its size and alignment matter")] [u8; 4096]);
    assert_eq!(Layout::new::<Page>().align(), 4096);
    let (held, beyond, page) = measure(|| Box::new(Page([1; 4096])));
    assert_eq!((held, beyond), (4096, 0));
    assert_eq!(std::ptr::from_ref(&*page).addr() % 4096, 0);
}

fn peak_survives_the_free() {
    let (held, beyond, ()) = measure(|| {
        let first = black_box(vec![1_u8; 1 << 16]);
        drop(first);
        drop(black_box(vec![1_u8; 1 << 12]));
    });
    assert_eq!((held, beyond), (0, 1 << 16));
    CountingAllocator::reset_peak();
    assert_eq!(CountingAllocator::peak(), CountingAllocator::live());
}

fn refused_requests_count_nothing() {
    if cfg!(miri) {
        return; // Miri stops the program where the system would refuse.
    }
    let mut v = vec![7_u8; 100];
    let before = (CountingAllocator::live(), CountingAllocator::peak());
    assert!(v.try_reserve_exact(isize::MAX as usize - 200).is_err());
    assert!(Vec::<u8>::new().try_reserve_exact(isize::MAX as usize - 200).is_err());
    assert_eq!((CountingAllocator::live(), CountingAllocator::peak()), before);
    assert_eq!(v, [7; 100]);
}

fn zeroed_memory_is_zero_and_untouched() {
    let size = if cfg!(miri) { 1 << 16 } else { 256 << 20 };
    let resident = resident_kib();
    let (held, beyond, v) = measure(|| vec![0_u8; size]);
    assert_eq!((held, beyond), (size as u64, 0));
    if let (Some(before), Some(now)) = (resident, resident_kib()) {
        // Written zeros would have made all 262,144 KiB resident.
        assert!(now < before + 16_384, "{before} KiB before, {now} KiB after");
    }
    assert!(v.iter().step_by(4093).all(|&b| b == 0));
}

fn resident_kib() -> Option<u64> {
    if cfg!(miri) || !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn threads_add_up() {
    const THREADS: usize = 4;
    const SIZE: usize = 1 << 16;
    let step = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                step.wait();
                step.wait();
                let held = black_box(vec![1_u8; SIZE]);
                step.wait();
                step.wait();
                drop(held);
                step.wait();
                step.wait();
            });
        }
        step.wait();
        let before = CountingAllocator::live();
        step.wait();
        step.wait();
        assert_eq!(CountingAllocator::live(), before + (THREADS * SIZE) as u64);
        step.wait();
        step.wait();
        assert_eq!(CountingAllocator::live(), before);
        assert!(CountingAllocator::peak() >= before + (THREADS * SIZE) as u64);
        step.wait();
    });
}

fn threads_leave_nothing_behind() {
    fn churn(rounds: usize) {
        // Not scoped threads: a scope ends before its threads have freed their own bookkeeping.
        let work = move |thread: usize| {
            for i in 0..rounds {
                let mut v = black_box(vec![0_u8; 1 + (i * 37 + thread) % 5000]);
                v.reserve_exact(1 + (i * 91) % 7000);
                v.truncate(1);
                v.shrink_to_fit();
            }
        };
        let threads = [0, 1, 2, 3].map(|thread| std::thread::spawn(move || work(thread)));
        for thread in threads {
            thread.join().expect("the thread only allocates");
        }
    }
    churn(1); // What the runtime sets up once for threads.
    let before = CountingAllocator::live();
    churn(if cfg!(miri) { 20 } else { 5000 });
    assert_eq!(CountingAllocator::live(), before);
}
